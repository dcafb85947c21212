// Commands: pipes and terminals, sessions that outlive their client, signals.

import { assert, events, once, until } from "../harness.mjs";

const TRIES = 20;

/**
 * Frames of exec over HTTP have no lengths: the SDK takes what one read of fetch gives for one frame, its first byte for the stream's
 * (1 and 2 output, 3 the exit code), the rest for the payload. Where this machine stands still for longer than the host's pause between
 * two frames, one read gives both, and the stream's byte of the second lies in the middle. No step here has such a byte in its output: a
 * read that has one says nothing about the host, and its step is tried again. Whatever else is wrong fails at once.
 */
async function undisturbed(step) {
  const { fetch } = globalThis;
  for (let tries = 1; ; tries++) {
    const reads = [];
    globalThis.fetch = async (...request) => watched(await fetch(...request), reads);
    try {
      return await step();
    } catch (error) {
      if (tries === TRIES || !reads.some(isTwo)) throw error;
    } finally {
      globalThis.fetch = fetch;
    }
  }
}

/** The response, whose body tells `reads` what each read of it gives. */
function watched(response, reads) {
  const { body } = response;
  const getReader = body.getReader.bind(body);
  body.getReader = () => {
    const reader = getReader();
    const read = reader.read.bind(reader);
    reader.read = async () => {
      const part = await read();
      if (part.value) reads.push(part.value);
      return part;
    };
    return reader;
  };
  return response;
}

/** Whether a read has a stream's byte behind its first. */
const isTwo = (read) => read.subarray(1).some((byte) => byte >= 1 && byte <= 3);

export default function (area) {
  area.check(["Sprite.exec", "Sprite.execFile"], async ({ sprite }) => {
    assert.equal((await sprite.exec("echo one two")).stdout, "one two\n");
    const { stdout, stderr, exitCode } = await sprite.execFile("sh", ["-c", "echo $A; pwd; echo err >&2"], {
      env: { A: "b c", PATH: "/usr/bin:/bin" },
      cwd: "/tmp",
    });
    assert.match(stdout, /^b c\n.*\/tmp\n$/);
    assert.deepEqual([stderr, exitCode], ["err\n", 0]);
    const big = await sprite.execFile("head", ["-c", "5000000", "/dev/zero"], { encoding: "buffer" });
    assert.equal(big.stdout.length, 5_000_000);
  });

  area.check(["ExecError.exitCode", "ExecError.stdout", "ExecError.stderr"], async ({ sdk, sprite }) => {
    const failing = sprite.execFile("sh", ["-c", "echo out; echo err >&2; exit 7"]);
    await assert.rejects(failing, (error) => {
      assert.ok(error instanceof sdk.ExecError);
      assert.deepEqual([error.exitCode, error.stdout, error.stderr], [7, "out\n", "err\n"]);
      return true;
    });
  });

  area.check(["Sprite.spawn", "SpriteCommand.wait", "SpriteCommand.exitCode"], async ({ sprite }) => {
    const command = sprite.spawn("sh", ["-c", "read line; echo got $line; cat; exit 3"]);
    await once(command, "spawn");
    assert.equal(command.exitCode(), -1);
    command.stdin.write("hello\n");
    await until(command.stdout, "got hello");
    command.stdin.end("the rest\n");
    await until(command.stdout, "the rest");
    assert.equal(await command.wait(), 3);
    assert.equal(command.exitCode(), 3);
  });

  area.check(["SpriteCommand.start"], async ({ sdk, sprite }) => {
    const command = new sdk.SpriteCommand(sprite, "sh", ["-c", "exit 4"]);
    await command.start();
    assert.equal(await command.wait(), 4);
  });

  area.check(["SpriteCommand.kill", "SpriteCommand.signal"], async ({ sprite }) => {
    const script = 'trap "echo usr1" USR1; echo ready; while :; do sleep 0.01; done';
    const command = sprite.spawn("bash", ["-c", script]);
    await until(command.stdout, "ready");
    command.signal("SIGUSR1");
    await until(command.stdout, "usr1");
    command.kill();
    assert.equal(await command.wait(), 128 + 15);
  });

  area.check(["SpriteCommand.resize"], async ({ sprite }) => {
    const script = 'trap "stty size" WINCH; stty size; while :; do sleep 0.01; done';
    const command = sprite.spawn("bash", ["-c", script], { tty: true, rows: 31, cols: 91 });
    await until(command.stdout, "31 91");
    command.resize(101, 41);
    await until(command.stdout, "41 101");
    command.kill("SIGKILL");
    await command.wait();
  });

  area.check(["Sprite.createSession", "Sprite.attachSession", "Sprite.listSessions"], async ({ sprite }) => {
    const command = sprite.createSession("bash", ["-c", "echo before; read line; echo after $line; exit 5"]);
    const said = until(command.stdout, "before");
    const info = await once(command, "message");
    await said;
    const [session] = await sprite.listSessions();
    assert.equal(session.id, info.session_id);
    assert.deepEqual([session.isActive, session.tty], [true, true]);
    assert.ok(session.created instanceof Date && session.lastActivity instanceof Date);
    const again = sprite.attachSession(session.id);
    await until(again.stdout, "before");
    again.stdin.write("x\n");
    await until(again.stdout, "after x");
    assert.notEqual(await again.wait(), 0);
    assert.notEqual(await command.wait(), 0);
  });

  area.check(
    ["Sprite.killSession", "SessionKillStream.next", "SessionKillStream.[Symbol.asyncIterator]"],
    async ({ sprite }) => {
      const command = sprite.spawn("bash", ["-c", 'trap "" TERM; echo ready; while :; do sleep 0.01; done'], {
        maxRunAfterDisconnect: "60s",
      });
      await until(command.stdout, "ready");
      const [session] = (await sprite.listSessions()).filter((session) => session.isActive);
      const said = await events(await sprite.killSession(session.id, "SIGTERM", "100ms"));
      assert.deepEqual(
        said.map((event) => event.type),
        ["signal", "timeout", "killed", "complete"],
      );
      assert.equal(said[0].signal, "SIGTERM");
      assert.ok(said[0].pid > 0);
      assert.equal(said[3].exitCode, 128 + 9);
      assert.equal(await command.wait(), 128 + 9);
    },
  );

  area.check(["SessionKillStream.processAll", "SessionKillStream.close"], async ({ sprite }) => {
    const command = sprite.spawn("sleep", ["1000"]);
    await once(command, "spawn");
    const [session] = (await sprite.listSessions()).filter((session) => session.isActive);
    const types = [];
    await (await sprite.killSession(session.id)).processAll((event) => types.push(event.type));
    assert.deepEqual(types, ["signal", "exited", "complete"]);
    assert.equal(await command.wait(), 128 + 15);
  });

  area.check(["Sprite.execFileHTTP"], async ({ sdk, sprite }) => {
    await undisturbed(async () => {
      const said = await sprite.execFileHTTP("sh", ["-c", "cat; echo $A; pwd; echo err >&2"], {
        input: "from stdin\n",
        env: { A: "b", PATH: "/usr/bin:/bin" },
        cwd: "/tmp",
      });
      assert.match(said.stdout, /^from stdin\nb\n.*\/tmp\n$/);
      assert.deepEqual([said.stderr, said.exitCode], ["err\n", 0]);
    });
    await undisturbed(async () => {
      const options = { encoding: "buffer", timeout: 20_000 };
      const raw = await sprite.execFileHTTP("head", ["-c", "40000", "/dev/zero"], options);
      assert.ok(raw.stdout.equals(Buffer.alloc(40_000)));
    });
    await undisturbed(() =>
      assert.rejects(sprite.execFileHTTP("sh", ["-c", "echo out; exit 9"]), (error) => {
        assert.ok(error instanceof sdk.ExecError);
        assert.deepEqual([error.exitCode, error.stdout], [9, "out\n"]);
        return true;
      }),
    );
    await assert.rejects(sprite.execFileHTTP("sleep", ["1000"], { timeout: 100 }), { name: "TimeoutError" });
    const nowhere = sprite.client.sprite("absent").execFileHTTP("true");
    await assert.rejects(nowhere, { name: "APIError", errorCode: "sprite_not_found" });
  });
}
