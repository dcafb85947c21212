// The control connection: operations, one after the other, over one WebSocket.

export default function (area) {
  area.notRun(
    [
      "Sprite.useControlMode",
      "Sprite.getControlConnection",
      "Sprite.closeControlConnection",
      "Sprite.hasControlConnection",
      "ControlConnection.connect",
      "ControlConnection.startOp",
      "ControlConnection.sendData",
      "ControlConnection.close",
      "ControlConnection.isClosed",
      "ControlConnection.isActive",
      "ControlConnection.setActive",
      "ControlConnection.clearOpConn",
      "OpConn.write",
      "OpConn.sendEOF",
      "OpConn.resize",
      "OpConn.signal",
      "OpConn.handleData",
      "OpConn.handleText",
      "OpConn.complete",
      "OpConn.close",
      "OpConn.isClosed",
      "OpConn.getExitCode",
      "OpConn.wait",
    ],
    "not yet",
  );
}
