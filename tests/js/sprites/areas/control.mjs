// The control connection: operations, one after the other, over one WebSocket.

import { assert, once } from "../harness.mjs";

const said = (op, text) =>
  new Promise((resolve) => {
    let seen = "";
    op.on("stdout", (chunk) => {
      seen += chunk;
      if (seen.includes(text)) resolve(seen);
    });
  });

export default function (area) {
  area.check(
    [
      "Sprite.useControlMode",
      "Sprite.getControlConnection",
      "Sprite.hasControlConnection",
      "Sprite.closeControlConnection",
      "ControlConnection.isActive",
      "ControlConnection.setActive",
      "ControlConnection.clearOpConn",
    ],
    async ({ sdk, baseURL, token, sprite: { name } }) => {
      const client = new sdk.SpritesClient(token, { baseURL, controlMode: true });
      const sprite = client.sprite(name);
      assert.ok(sprite.useControlMode());
      assert.ok(!sprite.hasControlConnection());
      // The SDK falls back to a connection per command when control fails: the pool shows that it did not.
      const outputs = await Promise.all([1, 2, 3].map((n) => sprite.execFile("echo", [`${n}`])));
      assert.deepEqual(outputs.map(({ stdout }) => stdout), ["1\n", "2\n", "3\n"]);
      assert.ok(sprite.hasControlConnection());
      await assert.rejects(sprite.execFile("sh", ["-c", "exit 6"]), { exitCode: 6 });
      const connection = await sprite.getControlConnection();
      assert.ok(connection.isActive());
      connection.setActive(false);
      assert.ok(!connection.isActive());
      sprite.closeControlConnection();
      assert.ok(!sprite.hasControlConnection() && connection.isClosed());
    },
  );

  area.check(
    [
      "ControlConnection.connect",
      "ControlConnection.startOp",
      "ControlConnection.sendData",
      "ControlConnection.isClosed",
      "ControlConnection.close",
      "OpConn.write",
      "OpConn.sendEOF",
      "OpConn.handleData",
      "OpConn.handleText",
      "OpConn.complete",
      "OpConn.wait",
      "OpConn.isClosed",
      "OpConn.getExitCode",
    ],
    async ({ sdk, sprite }) => {
      const connection = new sdk.ControlConnection(sprite);
      await connection.connect();
      for (const code of [0, 3]) {
        const op = await connection.startOp("exec", {
          cmd: ["sh", "-c", `echo $A; pwd; cat; exit ${code}`],
          env: ["A=b", "PATH=/usr/bin:/bin"],
          dir: "/tmp",
          stdin: true,
        });
        const [info, output] = [once(op, "message"), said(op, "hello")];
        await assert.rejects(connection.startOp("exec", { cmd: ["true"] }), /in progress/);
        op.write(Buffer.from("hello"));
        op.sendEOF();
        assert.match(await output, /^b\n.*\/tmp\nhello$/);
        assert.equal((await info).type, "session_info");
        assert.equal(await op.wait(), code);
        assert.deepEqual([op.isClosed(), op.getExitCode()], [true, code]);
      }
      const unknown = await connection.startOp("dance");
      assert.match((await new Promise((resolve) => unknown.once("error", resolve))).message, /dance/);
      const after = await connection.startOp("exec", { cmd: ["true"] });
      assert.equal(await after.wait(), 0);
      assert.ok(!connection.isClosed());
      connection.close();
      assert.ok(connection.isClosed());
    },
  );

  area.check(["OpConn.resize", "OpConn.signal", "OpConn.close"], async ({ sdk, sprite }) => {
    const connection = new sdk.ControlConnection(sprite);
    await connection.connect();
    const script = 'trap "stty size" WINCH; stty size; while :; do sleep 0.01; done';
    const terminal = await connection.startOp("exec", { cmd: ["bash", "-c", script], tty: true, rows: 31, cols: 91 });
    await said(terminal, "31 91");
    terminal.resize(101, 41);
    await said(terminal, "41 101");
    terminal.signal("SIGKILL");
    assert.equal(await terminal.wait(), 128 + 9);
    const piped = await connection.startOp("exec", { cmd: ["sh", "-c", "echo ready; exec sleep 1000"] });
    await said(piped, "ready");
    piped.signal("TERM");
    assert.equal(await piped.wait(), 128 + 15);
    const left = await connection.startOp("exec", { cmd: ["sleep", "1000"] });
    left.close();
    assert.deepEqual([left.isClosed(), await left.wait()], [true, -1]);
    connection.close();
  });
}
