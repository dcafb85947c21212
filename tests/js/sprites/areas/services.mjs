// Services: define, start, stop, restart, signal, and their logs.

import { assert, events } from "../harness.mjs";

/** Reads a stream one event at a time. */
async function oneByOne(stream) {
  const all = [];
  for (let event = await stream.next(); event; event = await stream.next()) all.push(event);
  return all;
}

const said = (all, type) => all.filter((event) => event.type === type).map((event) => event.data);
/** What happened, without what was said. */
const types = (all) => all.map((event) => event.type).filter((type) => !type.startsWith("std"));

export default function (area) {
  area.check(
    [
      "Sprite.listServices",
      "Sprite.getService",
      "Sprite.createService",
      "Sprite.deleteService",
      "Sprite.startService",
      "Sprite.stopService",
      "Sprite.restartService",
      "Sprite.getServiceLogs",
      "Sprite.signalService",
      "ServiceLogStream.next",
      "ServiceLogStream.processAll",
      "ServiceLogStream.close",
      "ServiceLogStream.[Symbol.asyncIterator]",
    ],
    async ({ sprite }) => {
      const script = 'trap "exit 0" TERM; trap "echo told" HUP; echo "$GREETING in $PWD"; echo wrong >&2; while :; do sleep 0.05; done';
      const config = { cmd: "bash", args: ["-c", script], env: { GREETING: "hello" }, dir: "/tmp" };
      const born = await events(await sprite.createService("web", config, "1s"));
      assert.equal(types(born)[0], "started");
      assert.ok(Math.abs(born[0].timestamp - Date.now()) < 60_000);
      assert.match(said(born, "stdout")[0], /^hello in .*\/tmp$/);
      assert.deepEqual(said(born, "stderr"), ["wrong"]);
      const file = born.at(-1).logFiles.stdout;
      assert.equal(born.at(-1).type, "complete");
      assert.match(await sprite.filesystem("/").readFile(file, "utf8"), /Z \[stderr\] wrong\n/);

      const service = await sprite.getService("web");
      assert.deepEqual([service.cmd, service.args, service.needs], ["bash", config.args, []]);
      assert.deepEqual([service.state.name, service.state.status], ["web", "running"]);
      assert.ok(service.state.pid > 0 && Date.parse(service.state.startedAt) <= Date.now());
      await assert.rejects(sprite.getService("other"), /Service not found/);

      await sprite.signalService("web", "HUP");
      const logs = await oneByOne(await sprite.getServiceLogs("web", { lines: 2, duration: "500ms" }));
      assert.equal(said(logs, "stdout").at(-1), "told");
      assert.equal(logs.at(-1).type, "complete");
      await assert.rejects(sprite.signalService("web", "NONSENSE"), /Invalid signal/);
      await assert.rejects(sprite.signalService("other", "HUP"), /Service not found/);

      await events(await sprite.createService("worker", { cmd: "sleep", args: ["1000"], needs: ["web"] }, "100ms"));
      assert.deepEqual((await sprite.listServices()).map(({ name, needs }) => [name, needs]), [["web", []], ["worker", ["web"]]]);
      await assert.rejects(sprite.createService("web", { ...config, needs: ["worker"] }), /Service conflict.*web → worker → web/);
      await assert.rejects(sprite.createService("odd", { cmd: "true", needs: ["nobody"] }), /status 400/);
      await assert.rejects(sprite.deleteService("web"), /Service conflict/);
      await sprite.deleteService("worker");
      await assert.rejects(sprite.deleteService("worker"), /Service not found/);

      const again = [];
      await (await sprite.restartService("web", "500ms")).processAll((event) => again.push(event));
      // The shell may say that it was told to end.
      const steps = types(again).filter((type) => !["stdout", "stderr"].includes(type));
      assert.deepEqual(steps.slice(0, 4), ["stopping", "exit", "stopped", "started"]);
      assert.notEqual((await sprite.getService("web")).state.pid, service.state.pid);

      const end = await events(await sprite.stopService("web", "5s"));
      assert.deepEqual(types(end).filter((type) => type !== "stderr"), ["stopping", "exit", "stopped", "complete"]);
      assert.equal(end.find((event) => event.type === "exit").exitCode, 0);
      assert.equal((await sprite.getService("web")).state.status, "stopped");
      await assert.rejects(sprite.stopService("web"), /Service not running/);
      await assert.rejects(sprite.signalService("web", "HUP"), /Service not running/);
      await assert.rejects(sprite.startService("other"), /Service not found/);

      const leaving = await sprite.startService("web", "10s");
      assert.equal((await leaving.next()).type, "started");
      leaving.close();
      assert.equal(await leaving.next(), null);
      assert.equal((await sprite.getService("web")).state.status, "running");
      await sprite.deleteService("web");
      assert.deepEqual(await sprite.listServices(), []);
    },
  );
}
