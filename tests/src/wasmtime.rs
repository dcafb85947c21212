//! The built Spin component on wasmtime, which serves the same wasi:http.

use crate::{Process, tool, toolbox};
use std::process::Command;

/// The edge on wasmtime.
#[derive(Debug)]
pub struct WasmtimeServe {
    process: Process,
    url: String,
}

impl WasmtimeServe {
    /// Serves `build/spin/edge.wasm` with these variables, `(name, value)`.
    ///
    /// # Panics
    /// When the component is not built or does not start.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let component = xtask::edge_build::spin_component(&toolbox());
        assert!(
            component.is_file(),
            "no component: run `cargo xtask build-edge spin`"
        );
        let mut command = Command::new(tool("wasmtime"));
        command.args([
            "serve",
            "-W",
            "component-model-async=y",
            "-S",
            "p3=y,cli=y,inherit-network=y",
        ]);
        command.args(["--addr", "127.0.0.1:0"]);
        for (name, value) in variables {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg(component);
        let mut process = Process::start("wasmtime", command);
        let url = process
            .line(|line| {
                Some(
                    line.strip_prefix("Serving HTTP on ")?
                        .trim_end_matches('/')
                        .to_owned(),
                )
            })
            .await;
        Self { process, url }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, for its log or its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
