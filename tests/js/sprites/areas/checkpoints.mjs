// Checkpoints: create, list, look up, restore, each with its stream of progress.

export default function (area) {
  area.notRun(
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
    "not yet",
  );
}
