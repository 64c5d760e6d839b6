"""The filter of `seccomp` as container engines take it: a profile in JSON, for libseccomp.

It refuses the same, by other means: what is not named here is refused, too. libseccomp compares 64
bits where the kernel looks at 32, so every comparison that lets something pass has a mask.
"""

import platform
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.seccomp import (
    DATAGRAM,
    INTERNET_4,
    INTERNET_6,
    INTERNET_PROTOCOLS,
    NETLINK,
    NETLINK_ROUTE,
    NEW_NAMESPACES,
    STREAM,
    TERMINAL_INJECTION,
    TYPE_BITS,
    UNIX,
)
from workers.sandboxes.syscalls import REFUSED

EPERM, ENOSYS, EPROTONOSUPPORT = 1, 38, 93  # Linux's
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
MACHINES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
BITS = 32
ALL_BITS = (1 << BITS) - 1

# All of x86_64 and aarch64 up to `syscalls.NEWEST` but the refused and those with rules below. A
# name that the machine does not know is passed over.
ALLOWED = """
accept accept4 access afs_syscall alarm arch_prctl bind brk cachestat capget capset chdir chmod
chown clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat
dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
futex_requeue futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list
get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer
getpeername getpgid getpgrp getpid getpmsg getppid getpriority getrandom getresgid getresuid
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_setup io_submit ioprio_get ioprio_set kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listmount
listxattr llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules
lsm_set_self_attr lstat madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore
mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
munlockall munmap nanosleep newfstatat open openat openat2 pause personality pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv
preadv2 prlimit64 pselect6 putpmsg pwrite64 pwritev pwritev2 read readahead readlink readlinkat
readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp security
select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy
set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice
stat statfs statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime times tkill truncate tuxcall umask uname unlink unlinkat utime
utimensat utimes vfork vmsplice vserver wait4 waitid write writev
""".split()  # noqa: SIM905 - a line for each would be 300


def profile() -> bytes:
    """Return the profile for this machine. Raises SandboxUnsupported where there is none."""
    machine = platform.machine()
    if machine not in MACHINES:
        raise SandboxUnsupported(f"There is no system call filter for {machine}.")
    return msgspec.json.encode(
        {
            "defaultAction": ERRNO,
            "defaultErrnoRet": EPERM,
            "architectures": [MACHINES[machine]],
            "syscalls": [
                _rule(ALLOWED, ALLOW),
                _rule(REFUSED, ERRNO, EPERM),
                # Its flags are behind a pointer, which a filter cannot read; libc falls back.
                _rule(["clone3"], ERRNO, ENOSYS),
                _rule(["clone"], ALLOW, None, _masked(0, NEW_NAMESPACES, 0)),
                _rule(["socketpair"], ALLOW, None, _masked(0, ALL_BITS, UNIX)),
                *_sockets(),
                *(
                    _rule(["ioctl"], ALLOW, None, _masked(1, mask, value))
                    for mask, value in everything_but(TERMINAL_INJECTION)
                ),
            ],
        }
    )


def everything_but(values: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield masks and masked values that match each 32-bit number once, but for `values`.

    They are the branches that a binary tree of the numbers has beside the ways to `values`.
    """
    kept = set(values)
    for depth in range(BITS):
        rest = BITS - depth - 1
        mask = ALL_BITS >> rest << rest
        beside = {(value >> rest ^ 1) << rest for value in kept}
        yield from ((mask, each) for each in sorted(beside - {value & mask for value in kept}))


def _sockets() -> Iterator[dict[str, Any]]:
    yield _rule(["socket"], ALLOW, None, _masked(0, ALL_BITS, UNIX))
    yield _rule(
        ["socket"],
        ALLOW,
        None,
        _masked(0, ALL_BITS, NETLINK),
        _masked(2, ALL_BITS, NETLINK_ROUTE),
    )
    for family in (INTERNET_4, INTERNET_6):
        for kind in (STREAM, DATAGRAM):
            plain = (_masked(0, ALL_BITS, family), _masked(1, TYPE_BITS, kind))
            for protocol in INTERNET_PROTOCOLS:
                yield _rule(["socket"], ALLOW, None, *plain, _masked(2, ALL_BITS, protocol))
            # What a kernel without it says, so that programs fall back (Go tries MPTCP first).
            later = {"index": 2, "value": max(INTERNET_PROTOCOLS), "op": "SCMP_CMP_GT"}
            yield _rule(["socket"], ERRNO, EPROTONOSUPPORT, *plain, later)


def _rule(
    names: Iterable[str], action: str, number: int | None = None, *arguments: dict[str, Any]
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": action, "args": list(arguments)}
    return rule if number is None else {**rule, "errnoRet": number}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
