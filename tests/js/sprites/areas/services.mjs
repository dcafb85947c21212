// Services: define, start, stop, restart, signal, and their logs.

export default function (area) {
  area.notRun(
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
    "not yet",
  );
}
