# Runs as the machine's first process, in the file system of the machine outside: mounts what a
# server has, then lets the tests run. What is put before this says
#   CHECKOUT, COPY: where it is outside, and where a copy that nobody changes meanwhile
#   PYTHON, DOORS: its environment, and the directories that lead to that and to the interpreter
#   OWNER: who runs the tests: `root`; `service` and `user`: root and an ordinary user, in a service
#     that systemd delegates to
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
busybox() { /mnt/busybox "$@"; }
finish() { echo "vm: ended with $1"; busybox poweroff -f; }

mount -t sysfs none /sys
mount -t cgroup2 -o nsdelegate none /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs -o mode=1777 none /dev/shm
busybox ip link set lo up
busybox hostname argosy-vm
echo "vm: Linux $(uname -r), control groups $(cat /sys/fs/cgroup/cgroup.controllers)"

# The directory of temporary files is the machine's own, and the checkout may lie in it.
mkdir -p "$CHECKOUT" /mnt/memory/upper /mnt/memory/work
layers="lowerdir=/mnt/outside$COPY,upperdir=/mnt/memory/upper,workdir=/mnt/memory/work"
mount -t overlay -o "$layers" none "$CHECKOUT" && cd "$CHECKOUT" &&
mkdir -p "$PYTHON" && mount --bind "/mnt/outside$PYTHON" "$PYTHON" || finish 97

if [ "$OWNER" = root ]; then
  sh /mnt/tests
  finish $?
fi

# What the ordinary user must reach; a change of this machine's layer of memory only.
if [ "$OWNER" = user ]; then
  chmod a+rx $DOORS
  chmod a+w "$CHECKOUT"
  uid=65533
fi
mkdir -p /run/systemd/system
cat >/run/systemd/system/tests.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
User=${uid:-root}
Delegate=yes
WorkingDirectory=$CHECKOUT
ExecStart=/bin/sh /mnt/tests
ExecStopPost=+/bin/sh -c 'echo "vm: ended with \$EXIT_STATUS"; /mnt/busybox poweroff -f'
StandardOutput=file:/dev/ttyS0
StandardError=file:/dev/ttyS0
TimeoutStartSec=infinity
END
exec /lib/systemd/systemd --unit=tests.service --show-status=no --log-target=null
