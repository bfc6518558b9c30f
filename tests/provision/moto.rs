//! A moto server for the tests of one binary: started at first use from a
//! virtual environment below `target/`, ended with the process.

use std::{
    fs::File,
    io::{PipeWriter, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::port::free_port;

/// Where the server answers.
pub fn address() -> &'static str {
    static SERVER: OnceLock<(String, PipeWriter)> = OnceLock::new();
    let (address, _) = SERVER.get_or_init(start);
    address
}

/// The image that the topologies name, as moto reads it.
const IMAGES: &str = r#"[
  {"ami_id": "ami-0000000000000001", "name": "debian-12-amd64-20240101-1", "owner_id": "136693071363",
   "description": "old", "creation_date": "2024-01-01T00:00:00.000Z", "state": "available",
   "architecture": "x86_64", "virtualization_type": "hvm", "root_device_name": "/dev/xvda",
   "root_device_type": "ebs", "image_type": "machine", "hypervisor": "xen", "public": true,
   "platform": null, "sriov": "simple"},
  {"ami_id": "ami-0000000000000002", "name": "debian-12-amd64-20250101-1", "owner_id": "136693071363",
   "description": "new", "creation_date": "2025-01-01T00:00:00.000Z", "state": "available",
   "architecture": "x86_64", "virtualization_type": "hvm", "root_device_name": "/dev/xvda",
   "root_device_type": "ebs", "image_type": "machine", "hypervisor": "xen", "public": true,
   "platform": null, "sriov": "simple"}
]"#;

/// The newest of these.
#[allow(dead_code, reason = "not every test that shares this module needs it")]
pub const NEWEST_IMAGE: &str = "ami-0000000000000002";

#[expect(
    clippy::zombie_processes,
    reason = "it ends with this process, and is never waited for"
)]
fn start() -> (String, PipeWriter) {
    let program = program();
    let directory = target().join("moto-tests");
    std::fs::create_dir_all(&directory).expect("target/ can be written");
    let images = directory.join("images.json");
    std::fs::write(&images, IMAGES).expect("target/ can be written");
    let port = free_port();
    let log = File::create(directory.join(format!("{port}.log"))).expect("target/ can be written");
    // The shell ends the server when this process, and with it the pipe, ends.
    let (input, output) = std::io::pipe().expect("pipes can be made");
    Command::new("sh")
        .arg("-c")
        .arg(r#""$0" -H 127.0.0.1 -p "$1" </dev/null & read -r _; kill $!"#)
        .arg(&program)
        .arg(port.to_string())
        .env("MOTO_AMIS_PATH", &images)
        .stdin(Stdio::from(input))
        .stdout(log.try_clone().expect("files can be shared"))
        .stderr(log)
        .spawn()
        .expect("sh can be started");
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(180);
    while TcpStream::connect(&address).is_err() {
        assert!(
            Instant::now() < deadline,
            "moto did not answer at {address} within three minutes; its log is in {}",
            directory.display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    (address, output)
}

/// `HAFAIL_MOTO` where it is set, else a virtual environment of our own.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("HAFAIL_MOTO") {
        return PathBuf::from(program);
    }
    let environment = target().join("moto");
    let program = environment.join("bin/moto_server");
    let lock = File::create(target().join("moto.lock")).expect("target/ can be written");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .expect("a fresh file can be locked");
    if !program.exists() {
        let _ = writeln!(
            std::io::stderr(),
            "installing moto into {}",
            environment.display()
        );
        run("python3", &["-m", "venv"], &environment);
        let pip = environment.join("bin/pip");
        let pip = pip.to_str().expect("the path is text");
        run(
            pip,
            &["install", "-q", "moto[server,ec2,route53]==5.*"],
            Path::new(""),
        );
    }
    program
}

fn run(program: &str, args: &[&str], last: &Path) {
    let mut command = Command::new(program);
    command.args(args);
    if !last.as_os_str().is_empty() {
        command.arg(last);
    }
    let done = command.status();
    let ok = done.as_ref().is_ok_and(std::process::ExitStatus::success);
    assert!(
        ok,
        "these tests need moto, and `{program} {}` failed ({done:?}): install python3-venv and \
         allow PyPI, or point HAFAIL_MOTO at a moto_server",
        args.join(" ")
    );
}

fn target() -> PathBuf {
    let mut path = std::env::current_exe().expect("tests know their program");
    while path.file_name().is_some_and(|name| name != "target") {
        path.pop();
    }
    path
}
