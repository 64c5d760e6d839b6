# Runs as the machine's first process, in the file system of the machine outside: mounts what a
# server has, then lets the tests run. What is put before this says
#   CHECKOUT, COPY: where it is outside, and where a copy that nobody changes meanwhile
#   PYTHON: its environment
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

sh /mnt/tests
finish $?
