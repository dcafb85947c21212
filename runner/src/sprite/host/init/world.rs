//! What a sprite sees: its own files, the host's programs read-only, and nothing else of the host.
//!
//! Invariant: the root is a file system in memory that is read-only in the end; the only places that can be written to are
//! the sprite's own directories, `/run`, `/dev/shm` and its terminals. What is mounted can't set user ids nor hold devices,
//! but for the six harmless ones in `/dev`.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::Path,
};

use rustix::{
    fs::{StatVfsMountFlags, statvfs},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
        mount_change, mount_remount, unmount,
    },
    process::{Signal, chdir, pivot_root, set_parent_process_death_signal},
    system::sethostname,
};

use super::{Doing, Stop, outer::USER, wire::Walls};
use crate::sprite::host::resolve::{OWN_DIRECTORIES, SYSTEM_DIRECTORIES};

/// What programs of the host need of its `/etc`, and no secret is in.
const SHARED_ETC: [&str; 22] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "inputrc",
    "java-17-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "perl",
    "pki",
    "profile",
    "python3",
    "ssl",
    "terminfo",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Files of `/proc` that tell of the host or reach it.
const HIDDEN: [&str; 7] = [
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];

/// Where the host's root is while the world is built.
const HOST: &str = "/.host";

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Builds the world and enters it. The current directory is the sprite's directory on the host.
pub(super) fn enter(name: &str, walls: &Walls) -> Result<(), Stop> {
    set_parent_process_death_signal(Some(Signal::KILL)).doing("die with the outer stage")?;
    sethostname(name.as_bytes()).doing("set the host name")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).doing("make the mounts private")?;
    memory("/tmp", "755", 1 << 20).doing("mount the root")?;
    fs::create_dir(format!("/tmp{HOST}")).doing("make a place for the host's root")?;
    pivot_root("/tmp", format!("/tmp{HOST}")).doing("change the root")?;
    own_directories().doing("mount the sprite's own directories")?;
    system_directories(&walls.shared).doing("mount the host's programs")?;
    etc(name).doing("make /etc")?;
    dev(walls.memory_files).doing("make /dev")?;
    proc().doing("mount /proc")?;
    fs::create_dir("/sys").doing("make /sys")?;
    fs::create_dir("/run").doing("make /run")?;
    memory("/run", "755", walls.memory_files).doing("mount /run")?;
    unmount(HOST, UnmountFlags::DETACH).doing("let go of the host's root")?;
    fs::remove_dir(HOST).doing("let go of the host's root")?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | PLAIN, c"")
        .doing("make the root read-only")?;
    chdir("/").doing("enter the root")
}

fn memory(target: &str, mode: &str, bytes: u64) -> io::Result<()> {
    let options = CString::new(format!("mode={mode},size={bytes},nr_inodes=16384"))?;
    Ok(mount("tmpfs", target, "tmpfs", PLAIN, options.as_c_str())?)
}

fn own_directories() -> io::Result<()> {
    for name in OWN_DIRECTORIES {
        let target = format!("/{name}");
        fs::create_dir(&target)?;
        mount_bind(name, &target)?;
        restrict(&target, PLAIN)?;
    }
    Ok(())
}

fn system_directories(shared: &[String]) -> io::Result<()> {
    for name in SYSTEM_DIRECTORIES {
        let (source, target) = (format!("{HOST}/{name}"), format!("/{name}"));
        match fs::symlink_metadata(&source) {
            Ok(found) if found.is_symlink() => symlink(fs::read_link(&source)?, &target)?,
            Ok(_) => show(&source, &target)?,
            Err(_) => {}
        }
    }
    for path in shared {
        show(&format!("{HOST}{path}"), path)?;
    }
    Ok(())
}

/// Shows a directory or file of the host, read-only.
fn show(source: &str, target: &str) -> io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        if let Some(parent) = Path::new(target).parent() {
            fs::create_dir_all(parent)?;
        }
        File::create(target)?;
    }
    mount_bind_recursive(source, target)?;
    restrict(target, PLAIN | MountFlags::RDONLY)
}

/// Adds flags to a bind mount. Those it has from the host can't be taken away, and must be named again.
fn restrict(target: &str, flags: MountFlags) -> io::Result<()> {
    let has = statvfs(target)?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
    ];
    let flags = kept
        .into_iter()
        .filter(|(has_flag, _)| has.contains(*has_flag))
        .fold(flags | MountFlags::BIND, |flags, (_, flag)| flags | flag);
    Ok(mount_remount(target, flags, c"")?)
}

fn etc(name: &str) -> io::Result<()> {
    fs::create_dir("/etc")?;
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/root:/usr/sbin/nologin\nsprite:x:{USER}:{USER}:sprite:/home/sprite:/bin/bash\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        (
            "group",
            format!("root:x:0:\nsprite:x:{USER}:\nnogroup:x:65534:\n"),
        ),
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1 localhost {name}\n::1 localhost\n")),
        // Names are looked up by the proxy outside, if at all.
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n".into(),
        ),
        ("resolv.conf", String::new()),
    ];
    for (file, content) in files {
        fs::write(format!("/etc/{file}"), content)?;
    }
    for entry in SHARED_ETC {
        let (source, target) = (format!("{HOST}/etc/{entry}"), format!("/etc/{entry}"));
        match fs::symlink_metadata(&source) {
            Ok(found) if found.is_symlink() => symlink(fs::read_link(&source)?, &target)?,
            Ok(_) => show(&source, &target)?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn dev(memory_files: u64) -> io::Result<()> {
    fs::create_dir("/dev")?;
    for device in DEVICES {
        let target = format!("/dev/{device}");
        File::create(&target)?;
        mount_bind(format!("{HOST}/dev/{device}"), &target)?;
    }
    fs::create_dir("/dev/pts")?;
    let options = c"newinstance,ptmxmode=0666,mode=620";
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", "/dev/pts", "devpts", flags, options)?;
    fs::create_dir("/dev/shm")?;
    memory("/dev/shm", "1777", memory_files)?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    links
        .into_iter()
        .try_for_each(|(target, link)| symlink(target, format!("/dev/{link}")))
}

fn proc() -> io::Result<()> {
    fs::create_dir("/proc")?;
    mount("proc", "/proc", "proc", PLAIN | MountFlags::NOEXEC, None)?;
    for name in HIDDEN {
        let target = format!("/proc/{name}");
        if fs::exists(&target)? {
            mount_bind(format!("{HOST}/dev/null"), &target)?;
        }
    }
    Ok(())
}
