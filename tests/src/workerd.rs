//! The built Worker on the real Workers runtime.
//!
//! Invariant: the compatibility date and flags are those of wrangler.toml, so that tests run what is deployed.

use crate::{Process, toolbox};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A Worker that forwards to the edge's `scheduled` handler whatever request it gets: the runtime itself has no clock.
const CRON: &str = "export default { async fetch(request, env) { \
    const result = await env.EDGE.scheduled({ cron: '* * * * *', scheduledTime: new Date() }); \
    return new Response(result.outcome); } }";

/// The edge on workerd.
#[derive(Debug)]
pub struct Workerd {
    process: Process,
    url: String,
    cron_url: String,
    _folder: TempDir,
}

impl Workerd {
    /// Serves `build/worker` with these variables, `(name, value)`.
    ///
    /// # Panics
    /// When the Worker is not built or does not start.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let toolbox = toolbox();
        let bundle = xtask::edge_build::worker_folder(&toolbox);
        assert!(
            bundle.join("index.js").is_file(),
            "no Worker: run `cargo xtask build-edge workers`"
        );
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["index.js", "index_bg.wasm"] {
            fs::copy(bundle.join(file), folder.path().join(file)).expect("a copy of the bundle");
        }
        let wrangler = fs::read_to_string(toolbox.workspace().join("wrangler.toml")).expect("wrangler.toml");
        let config = folder.path().join("config.capnp");
        fs::write(&config, configuration(&wrangler, variables)).expect("a configuration");

        let mut command = Command::new(program(
            &toolbox
                .node_modules()
                .unwrap_or_else(|failure| panic!("{failure}")),
        ));
        command
            .args(["serve", "--experimental", "--control-fd=1"])
            .arg(&config);
        let mut process = Process::start("workerd", command);
        let mut addresses = BTreeMap::new();
        process
            .line(|line| {
                addresses.extend(listening(line));
                (addresses.len() == 2).then_some(())
            })
            .await;
        let mut address = |socket| addresses.remove(socket).expect("one of the two sockets");
        let (url, cron_url) = (address("http"), address("cron"));
        Self {
            process,
            url,
            cron_url,
            _folder: folder,
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fires the cron trigger once and returns the outcome, `ok` when the handler did not throw.
    ///
    /// # Panics
    /// When the runtime does not answer.
    pub async fn tick(&self) -> String {
        let answer = reqwest::get(&self.cron_url).await.expect("the runtime answers");
        answer.text().await.expect("a text")
    }

    /// The process, for its log or its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The runtime's own binary: the npm package's script would only start it as a child.
fn program(node_modules: &Path) -> std::path::PathBuf {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", _) => "darwin-64",
        (_, "aarch64") => "linux-arm64",
        _ => "linux-64",
    };
    node_modules.join(format!("@cloudflare/workerd-{platform}/bin/workerd"))
}

/// Socket and address of the runtime's event `{"event":"listen","socket":"http","port":46739}`.
fn listening(line: &str) -> Option<(String, String)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let socket = event["socket"].as_str().filter(|_| event["event"] == "listen")?;
    Some((socket.to_owned(), format!("http://127.0.0.1:{}", event["port"])))
}

/// The runtime's configuration, in its own language.
fn configuration(wrangler: &str, variables: &[(&str, &str)]) -> String {
    let wrangler: toml::Table = wrangler.parse().expect("wrangler.toml is TOML");
    let date = wrangler["compatibility_date"].as_str().expect("a date");
    let flags = wrangler
        .get("compatibility_flags")
        .and_then(|flags| flags.as_array())
        .into_iter()
        .flatten();
    let flags: Vec<String> = flags.map(|flag| quoted(flag.as_str().expect("a flag"))).collect();
    let mut bindings = String::new();
    for (name, value) in variables {
        writeln!(
            bindings,
            "    (name = {}, text = {}),",
            quoted(name),
            quoted(value)
        )
        .expect("text");
    }
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "cron", worker = .cron),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:0", http = (), service = "edge"),
    (name = "cron", address = "127.0.0.1:0", http = (), service = "cron"),
  ],
);
const edge :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  compatibilityDate = {date},
  compatibilityFlags = [{flags}],
  bindings = [
{bindings}  ],
);
const cron :Workerd.Worker = (
  modules = [(name = "cron.js", esModule = {cron})],
  compatibilityDate = {date},
  compatibilityFlags = ["service_binding_extra_handlers"],
  bindings = [(name = "EDGE", service = "edge")],
);
"#,
        date = quoted(date),
        flags = flags.join(", "),
        cron = quoted(CRON),
    )
}

/// A text as the configuration's language writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
