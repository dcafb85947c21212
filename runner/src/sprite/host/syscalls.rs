//! The system calls a sprite has no business with.
//!
//! Invariant: what is refused is refused with an error, as by a kernel that lacks it, so that programs fall back. The list
//! names what reaches beyond the sprite (kernel, devices, clock, other namespaces) or has been a way out of sandboxes; all
//! else is left to the namespaces, because agents build and debug real software.

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Refused with `EPERM`, whatever the arguments.
const REFUSED: [libc::c_long; 46] = [
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_perf_event_open,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    // Keys are not in any namespace.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The clock and the host's name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Files by handle escape any path.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Large and young parts of the kernel that sandboxes broke through.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_vhangup,
    libc::SYS_migrate_pages,
];

/// Namespaces that `clone` and `unshare` could make.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Socket families that stay in the sprite's own namespaces.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminal requests that put words into somebody's mouth.
const TERMINAL_REQUESTS: [libc::c_ulong; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Calls that look into other processes of the sprite.
const TRACING: [libc::c_long; 5] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// Whether processes may look into each other, as debuggers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tracing {
    Allowed,
    Refused,
}

/// Applies the filters to this process and all it will start.
pub(super) fn restrict(tracing: Tracing) -> io::Result<()> {
    let more: &[libc::c_long] = match tracing {
        Tracing::Allowed => &[],
        Tracing::Refused => &TRACING,
    };
    for program in [
        refusals(more).map_err(io::Error::other)?,
        absent().map_err(io::Error::other)?,
    ] {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn refusals(more: &[libc::c_long]) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = REFUSED.iter().chain(more);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused.map(|number| (*number, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend([libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt].map(|number| (number, Vec::new())));
    for number in [libc::SYS_clone, libc::SYS_unshare] {
        let mut any = Vec::new();
        for flag in NAMESPACES {
            let flag = u64::from(flag.cast_unsigned());
            any.push(rule([(0, SeccompCmpOp::MaskedEq(flag), flag)])?);
        }
        rules.insert(number, any);
    }
    let mut requests = Vec::new();
    for request in TERMINAL_REQUESTS {
        requests.push(rule([(1, SeccompCmpOp::Eq, request)])?);
    }
    rules.insert(libc::SYS_ioctl, requests);
    let others = FAMILIES.map(|family| (0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned())));
    rules.insert(libc::SYS_socket, vec![rule(others)?]);
    filter(rules, libc::EPERM)
}

/// `clone3` takes its flags where no filter can see them; programs fall back to `clone` when it is absent.
fn absent() -> Result<BpfProgram, seccompiler::BackendError> {
    filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

/// A rule that holds when all conditions hold: number of the argument, comparison, value.
fn rule<const N: usize>(
    conditions: [(u8, SeccompCmpOp, u64); N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions: Result<Vec<_>, _> = conditions
        .into_iter()
        .map(|(argument, operator, value)| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        })
        .collect();
    SeccompRule::new(conditions?)
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}
