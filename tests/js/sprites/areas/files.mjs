// Files: everything of the SDK's file system, and its watcher.

import { assert } from "../harness.mjs";

const methods = (...names) => names.map((name) => `SpriteFilesystem.${name}`);
const code = (expected) => (error) => {
  assert.equal(error.name, "FilesystemError");
  assert.equal(error.code, expected, error.message);
  return true;
};

const sh = async (sprite, script) => (await sprite.execFile("sh", ["-c", script])).stdout;

/** The events of a watcher up to the first that `wanted` takes. */
async function until(watcher, wanted) {
  const seen = [];
  for (;;) {
    const event = await watcher.next();
    assert.notEqual(event, null, `the watch ended after ${JSON.stringify(seen)}`);
    seen.push(event);
    if (wanted(event)) return seen;
  }
}

export default function (area) {
  area.check(
    ["Sprite.filesystem", "SpriteFilesystem.readFile", "SpriteFilesystem.writeFile"],
    async ({ sprite }) => {
      const files = sprite.filesystem("/home/sprite/deep");
      await files.writeFile("er/a.txt", "ünïcode", { mode: 0o600 });
      assert.equal(await files.readFile("er/a.txt", "utf8"), "ünïcode");
      assert.equal((await sprite.execFile("cat", ["deep/er/a.txt"])).stdout, "ünïcode");
      const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, at) => at % 256));
      await files.writeFile("bytes", bytes);
      assert.ok(bytes.equals(await files.readFile("bytes")));
      assert.ok(bytes.equals(await files.readFile("bytes", null)));
      await assert.rejects(files.readFile("absent"), code("ENOENT"));
      await assert.rejects(files.readFile("er"), code("EISDIR"));
      await assert.rejects(files.readFile("bytes/x"), code("ENOTDIR"));
      await assert.rejects(files.readFile("../../../../x"), code("EACCES"));
      await assert.rejects(files.writeFile("", "x"), code("EINVAL"));
      // The SDK's own working directory is the root.
      assert.equal(await sprite.filesystem().readFile("/home/sprite/deep/er/a.txt", "utf8"), "ünïcode");
    },
  );

  area.check(methods("mkdir", "readdir", "stat", "exists"), async ({ sprite }) => {
    const files = sprite.filesystem("/home/sprite/dirs");
    await files.mkdir("/home/sprite/dirs");
    await files.mkdir("a/b", { recursive: true, mode: 0o750 });
    await assert.rejects(files.mkdir("no/such"), code("ENOENT"));
    await files.writeFile("a/b/one.ts", "1");
    await files.writeFile("two.ts", "22");
    await sh(sprite, "ln -s two.ts dirs/link");
    assert.deepEqual(await files.readdir("."), ["a", "link", "two.ts"]);
    assert.deepEqual(await files.readdir(".", { recursive: true }), ["a", "a/b", "a/b/one.ts", "link", "two.ts"]);
    assert.deepEqual(await files.readdir(".", { recursive: true, pattern: "*.ts" }), ["a/b/one.ts", "two.ts"]);
    const [directory, link, file] = await files.readdir(".", { withFileTypes: true });
    assert.deepEqual([directory.name, directory.isDirectory(), directory.isFile()], ["a", true, false]);
    assert.deepEqual([link.name, link.isSymbolicLink(), link.isDirectory()], ["link", true, false]);
    assert.deepEqual([file.name, file.isFile(), file.parentPath], ["two.ts", true, "."]);
    const found = await files.stat("two.ts");
    assert.deepEqual([found.size, found.mode, found.isFile()], [2, 0o644, true]);
    assert.ok(Math.abs(found.mtime - Date.now()) < 60_000);
    // Of a directory the SDK shows the first entry; `a` holds the directory that was made with a mode.
    assert.deepEqual([(await files.stat("a")).mode, (await files.stat("a")).isDirectory()], [0o750, true]);
    assert.deepEqual([await files.exists("two.ts"), await files.exists("three.ts")], [true, false]);
    await assert.rejects(files.readdir("absent"), code("ENOENT"));
    await assert.rejects(files.readdir(".", { pattern: "[" }), code("EINVAL"));
  });

  area.check(methods("rm", "rename"), async ({ sprite }) => {
    const files = sprite.filesystem("/home/sprite/gone");
    await files.writeFile("a/b/c", "x");
    await files.writeFile("d", "x");
    await assert.rejects(files.rm("a"), code("ENOTEMPTY"));
    await assert.rejects(files.rm("absent"), code("ENOENT"));
    await files.rm("absent", { force: true });
    await files.rename("a/b", "b");
    await files.rename("d", "b/d", { asRoot: true });
    assert.deepEqual(await files.readdir(".", { recursive: true }), ["a", "b", "b/c", "b/d"]);
    await assert.rejects(files.rename("absent", "x"), code("ENOENT"));
    await files.rm("b/d");
    await sh(sprite, "chmod 000 gone/b");
    await files.rm("b", { recursive: true, asRoot: true });
    await files.rm("a");
    assert.deepEqual(await files.readdir("."), []);
  });

  area.check(methods("copyFile", "chmod", "chown"), async ({ sprite }) => {
    const files = sprite.filesystem("/home/sprite/copies");
    const modes = () => sh(sprite, "cd copies && stat -c '%n %a' $(find . -type f | sort)");
    await files.writeFile("from/run.sh", "echo ran", { mode: 0o755 });
    await files.writeFile("from/in/data", "1234");
    await files.copyFile("from/run.sh", "run.sh");
    await files.copyFile("from", "to", { recursive: true, preserveAttrs: true, asRoot: true });
    await assert.rejects(files.copyFile("from", "else"), code("EISDIR"));
    await assert.rejects(files.copyFile("absent", "x"), code("ENOENT"));
    await files.chmod("run.sh", 0o700);
    await files.chmod("from", 0o711, { recursive: true, asRoot: true });
    assert.equal(
      await modes(),
      "./from/in/data 711\n./from/run.sh 711\n./run.sh 700\n./to/in/data 644\n./to/run.sh 755\n",
    );
    await assert.rejects(files.chmod("absent", 0o700), code("ENOENT"));
    await files.chown("to", { uid: "sprite", gid: "sprite", recursive: true, asRoot: true });
    const own = Number(await sh(sprite, "id -u"));
    await files.chown("to/run.sh", { uid: own });
    await assert.rejects(files.chown("to", { uid: "somebody" }), code("EPERM"));
    await assert.rejects(files.chown("to", {}), TypeError);
  });

  area.check(methods("appendFile", "readJSON", "writeJSON"), async ({ sprite }) => {
    const files = sprite.filesystem("/home/sprite/more");
    await files.appendFile("log", "one\n");
    await files.appendFile("log", Buffer.from("two\n"));
    assert.equal(await files.readFile("log", "utf8"), "one\ntwo\n");
    await files.writeJSON("data.json", { list: [1, "ü", null] }, { spaces: 2 });
    assert.deepEqual(await files.readJSON("data.json"), { list: [1, "ü", null] });
    assert.match(await files.readFile("data.json", "utf8"), /^\{\n  "list"/);
  });

  area.check(
    [
      "SpriteFilesystem.watch",
      "FilesystemWatcher.connect",
      "FilesystemWatcher.next",
      "FilesystemWatcher.close",
      "FilesystemWatcher.isClosed",
      "FilesystemWatcher.[Symbol.asyncIterator]",
    ],
    async ({ sprite }) => {
      const files = sprite.filesystem("/home/sprite/watched");
      await files.writeFile("a", "x");
      const one = await files.watch("a");
      const { type, paths } = await one.next();
      assert.deepEqual([type, paths.length], ["subscribed", 1]);
      assert.match(paths[0], /\/home\/sprite\/watched\/a$/);
      const all = await files.watch(["."], { recursive: true });
      assert.equal((await all.next()).type, "subscribed");

      await files.writeFile("new/b", "12345");
      const seen = await until(all, (event) => event.path?.endsWith("/new/b"));
      const { event, isDir, size, timestamp } = seen.at(-1);
      assert.deepEqual([event, isDir, size], ["create", false, 5]);
      assert.ok(!Number.isNaN(Date.parse(timestamp)));
      await sh(sprite, "echo more >> watched/new/b; chmod 600 watched/new/b; rm watched/new/b; mv watched/a watched/c");
      for (const wanted of ["write", "chmod", "remove", "rename"]) {
        await until(all, (event) => event.event === wanted);
      }
      // The file that is watched alone saw what happened to it and nothing else.
      assert.deepEqual((await until(one, (event) => event.event === "rename")).map(({ event }) => event), ["rename"]);
      one.close();
      assert.deepEqual([one.isClosed(), await one.next()], [true, null]);

      await sh(sprite, "rm -r watched");
      let last;
      for await (const event of all) last = event;
      assert.equal(last.type, "error", "the watch says that nothing is left to watch, and ends");
      const refused = await files.watch("/home/sprite/absent");
      const { type: failed, message } = await refused.next();
      assert.equal(failed, "error");
      assert.match(message, /absent/);
      assert.equal(await refused.next(), null);
    },
  );
}
