// Checkpoints: create, list, look up, restore, each with its stream of progress.

import { assert, events } from "../harness.mjs";

/** Reads a stream one message at a time. */
async function oneByOne(stream) {
  const all = [];
  for (let message = await stream.next(); message; message = await stream.next()) all.push(message);
  return all;
}

export default function (area) {
  area.check(
    [
      "Sprite.createCheckpoint",
      "Sprite.listCheckpoints",
      "Sprite.getCheckpoint",
      "Sprite.restoreCheckpoint",
      "CheckpointStream.next",
      "CheckpointStream.processAll",
      "CheckpointStream.close",
      "CheckpointStream.[Symbol.asyncIterator]",
      "RestoreStream.next",
      "RestoreStream.processAll",
      "RestoreStream.close",
      "RestoreStream.[Symbol.asyncIterator]",
    ],
    async ({ sprite }) => {
      const files = sprite.filesystem("/home/sprite");
      await files.writeFile("state", "first");
      const said = await events(await sprite.createCheckpoint("before the change"));
      assert.equal(said.at(0).type, "info");
      assert.deepEqual([said.at(-1).type, said.at(-1).data], ["complete", "Checkpoint v1 created"]);
      assert.ok(Date.parse(said.at(-1).time) <= Date.now() + 1000);

      await files.writeFile("state", "second");
      const types = [];
      await (await sprite.createCheckpoint()).processAll((message) => types.push(message.type));
      assert.equal(types.at(-1), "complete");
      const left = await sprite.createCheckpoint("nobody listens");
      left.close();
      assert.equal(await left.next(), null);

      const found = await sprite.getCheckpoint("v1");
      assert.equal(found.comment, "before the change");
      assert.ok(Math.abs(found.createTime - Date.now()) < 60_000);
      assert.ok(!found.isAuto && !found.health);
      assert.equal((await sprite.getCheckpoint("v2")).sourceId, "v1");
      await assert.rejects(sprite.getCheckpoint("v99"), /Checkpoint not found/);
      await assert.rejects(sprite.restoreCheckpoint("v99"), /status 404/);

      assert.equal((await oneByOne(await sprite.restoreCheckpoint("v1"))).at(-1).type, "complete");
      assert.equal(await files.readFile("state", "utf8"), "first");
      assert.equal((await events(await sprite.restoreCheckpoint("v2"))).at(-1).type, "complete");
      assert.equal(await files.readFile("state", "utf8"), "second");
      await (await sprite.restoreCheckpoint("v1")).processAll(() => {});
      const leaving = await sprite.restoreCheckpoint("v1");
      leaving.close();

      await events(await sprite.createCheckpoint("after the restores"));
      const all = await sprite.listCheckpoints();
      assert.equal(all[0].id, "Current");
      const mine = all.filter((checkpoint) => checkpoint.comment === "after the restores");
      assert.equal(mine.length, 1);
      assert.ok(mine[0].history.some((restore) => restore.startsWith("to=v2;time=")));
      assert.ok(all.some((checkpoint) => checkpoint.isAuto && checkpoint.comment === "before restoring v1"));
      const after = await sprite.listCheckpoints("v2");
      assert.ok(after.some((checkpoint) => checkpoint.id === mine[0].id));
      assert.ok(!after.some((checkpoint) => checkpoint.id === "v1"));
    },
  );
}
