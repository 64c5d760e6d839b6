"""The system calls a sandbox may not make, by number, for each architecture."""

from msgspec import Struct

# One column an architecture: x86_64, aarch64; None where it does not have the call. The numbers are
# the kernel's ABI and never change.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes' memory and state
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # files by handle, past every path
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # large, often broken parts of the kernel that agents do not need
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
}

# Calls newer than the review of this table do not exist for a sandbox (ENOSYS, as on an older
# kernel). 462 is mseal, of Linux 6.10; numbers above 423 are the same on every architecture.
NEWEST = 462


class Architecture(Struct, frozen=True):
    """What the filter must know of a machine: its audit number and the calls it looks into."""

    audit: int
    refused: tuple[int, ...]
    clone: int
    clone3: int
    socket: int
    socketpair: int
    ioctl: int
    x32: bool


def _column(place: int) -> tuple[int, ...]:
    return tuple(sorted(n for row in REFUSED.values() if (n := row[place]) is not None))


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, _column(0), 56, 435, 41, 53, 16, x32=True),
    "aarch64": Architecture(0xC00000B7, _column(1), 220, 435, 198, 199, 29, x32=False),
}
