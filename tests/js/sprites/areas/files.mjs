// Files: everything of the SDK's file system, and its watcher.

import { assert } from "../harness.mjs";

export default function (area) {
  area.check(
    ["Sprite.filesystem", "SpriteFilesystem.readFile", "SpriteFilesystem.writeFile"],
    async ({ sprite }) => {
      const files = sprite.filesystem("/home/sprite/deep");
      await files.writeFile("er/a.txt", "ünïcode", { mode: 0o600 });
      assert.equal(await files.readFile("er/a.txt", "utf8"), "ünïcode");
      assert.equal((await sprite.execFile("cat", ["deep/er/a.txt"])).stdout, "ünïcode");
      await assert.rejects(files.readFile("absent"), { name: "FilesystemError", code: "ENOENT" });
    },
  );

  area.notRun(
    [
      "SpriteFilesystem.readdir",
      "SpriteFilesystem.mkdir",
      "SpriteFilesystem.rm",
      "SpriteFilesystem.stat",
      "SpriteFilesystem.rename",
      "SpriteFilesystem.copyFile",
      "SpriteFilesystem.chmod",
      "SpriteFilesystem.chown",
      "SpriteFilesystem.exists",
      "SpriteFilesystem.appendFile",
      "SpriteFilesystem.readJSON",
      "SpriteFilesystem.writeJSON",
      "SpriteFilesystem.watch",
      "FilesystemWatcher.connect",
      "FilesystemWatcher.next",
      "FilesystemWatcher.close",
      "FilesystemWatcher.isClosed",
      "FilesystemWatcher.[Symbol.asyncIterator]",
    ],
    "not yet",
  );
}
