//! `cargo xtask build-edge`: the edge as a Cloudflare Worker and as a Spin component, both below `build/`.
//!
//! Invariant: a Worker larger than [`LARGEST_WORKER`] is a failure, wherever it is built.

use crate::{Failure, Toolbox, run, setup, verify};
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The most that a Worker's script and module may take together, in bytes after gzip.
pub const LARGEST_WORKER: usize = 1 << 20;

/// The profile that both are built with.
const PROFILE: &str = "edge-wasm";

/// A host that runs the edge as WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WasmHost {
    /// Cloudflare Workers: `build/worker/index.js` and `index_bg.wasm`.
    Workers,
    /// Spin and other runtimes of wasi:http 0.3: `build/spin/edge.wasm`.
    Spin,
}

/// The folder of the Worker's bundle.
pub fn worker_folder(toolbox: &Toolbox) -> PathBuf {
    toolbox.workspace().join("build/worker")
}

/// The Spin component.
pub fn spin_component(toolbox: &Toolbox) -> PathBuf {
    toolbox.workspace().join("build/spin/edge.wasm")
}

/// Builds the edge for one host and prints what it weighs.
pub fn build(toolbox: &Toolbox, host: WasmHost) -> Result<(), Failure> {
    let started = Instant::now();
    let (name, files) = match host {
        WasmHost::Workers => ("workers", build_worker(toolbox)?),
        WasmHost::Spin => ("spin", build_component(toolbox)?),
    };
    let (mut raw, mut packed) = (0, 0);
    for file in &files {
        raw += fs::read(file).map_err(Failure::file(file))?.len();
        packed += packed_size(file)?;
    }
    let took = setup::seconds(started.elapsed());
    println!(
        "  \u{2713} {name}: {} KB, {} KB after gzip, in {took}",
        raw / 1024,
        packed / 1024
    );
    if host == WasmHost::Workers && packed > LARGEST_WORKER {
        return Err(Failure::Check(format!(
            "The Worker is {packed} bytes after gzip; {LARGEST_WORKER} are allowed. Take out what it does not need."
        )));
    }
    Ok(())
}

fn build_worker(toolbox: &Toolbox) -> Result<Vec<PathBuf>, Failure> {
    let module = compile(toolbox, "wasm32-unknown-unknown")?;
    let folder = worker_folder(toolbox);
    let files = vec![folder.join("index.js"), folder.join("index_bg.wasm")];
    // Bundling takes longer than a compilation with nothing to do, so it is left out when its input is the same.
    let stamp = folder.join("built-from");
    let worker_build = toolbox.program("worker-build")?;
    let input = fs::read(&module).map_err(Failure::file(&module))?;
    let digest = hex::encode(
        Sha256::new()
            .chain_update(&input)
            .chain_update(worker_build.to_string_lossy().as_bytes())
            .finalize(),
    );
    if fs::read_to_string(&stamp).is_ok_and(|built| built == digest)
        && files.iter().all(|file| file.is_file())
    {
        return Ok(files);
    }
    let mut bundle = Command::new(worker_build);
    // No wasm-opt: measured here, it takes longer than all else and what it writes is larger after gzip.
    bundle
        .args(["--profile", PROFILE, "--no-opt", "--out-dir", "../build/worker"])
        .current_dir(toolbox.workspace().join("edge"))
        .env("WASM_BINDGEN_BIN", toolbox.program("wasm-bindgen")?)
        .env("ESBUILD_BIN", toolbox.npm_file("esbuild/bin/esbuild")?);
    run::logged(&mut bundle, &log(toolbox, "worker-build")?)?;
    fs::write(&stamp, digest).map_err(Failure::file(&stamp))?;
    Ok(files)
}

fn build_component(toolbox: &Toolbox) -> Result<Vec<PathBuf>, Failure> {
    let built = compile(toolbox, "wasm32-wasip2")?;
    let component = spin_component(toolbox);
    if let Some(folder) = component.parent() {
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    }
    fs::copy(&built, &component).map_err(Failure::file(&component))?;
    Ok(vec![component])
}

/// Compiles the edge as worker-build would, and returns the module.
fn compile(toolbox: &Toolbox, target: &str) -> Result<PathBuf, Failure> {
    let arguments = [
        "build",
        "--quiet",
        "--package",
        "roost-edge",
        "--lib",
        "--profile",
        PROFILE,
        "--target",
        target,
    ];
    // worker-build sets this variable too; with another value Cargo would compile everything twice.
    run::shown(
        verify::cargo(toolbox)
            .args(arguments)
            .env("WASM_BINDGEN_USE_JS_SYS", "1"),
    )?;
    Ok(target_folder(toolbox)?
        .join(target)
        .join(PROFILE)
        .join("roost_edge.wasm"))
}

fn target_folder(toolbox: &Toolbox) -> Result<PathBuf, Failure> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let printed =
        run::output(verify::cargo(toolbox).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata =
        serde_json::from_str(&printed).map_err(Failure::format(Path::new("cargo metadata")))?;
    Ok(metadata.target_directory)
}

fn log(toolbox: &Toolbox, name: &str) -> Result<PathBuf, Failure> {
    let folder = toolbox.workspace().join("build");
    fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
    Ok(folder.join(format!("{name}.log")))
}

/// What a file weighs after gzip, in bytes.
pub fn packed_size(file: &Path) -> Result<usize, Failure> {
    let bytes = fs::read(file).map_err(Failure::file(file))?;
    gzip_size(&bytes).map_err(Failure::file(file))
}

fn gzip_size(bytes: &[u8]) -> std::io::Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}
