// Ports inside a sprite: tunnels to them, and news of what listens.

export default function (area) {
  area.notRun(
    [
      "Sprite.proxyPort",
      "Sprite.proxyPorts",
      "proxyPort",
      "proxyPorts",
      "ProxySession.start",
      "ProxySession.localAddr",
      "ProxySession.close",
      "ProxySession.wait",
      "ProxyManager.addSession",
      "ProxyManager.closeAll",
      "ProxyManager.waitAll",
      "Sprite.watchPorts",
      "PortWatcher.connect",
      "PortWatcher.next",
      "PortWatcher.close",
      "PortWatcher.isClosed",
      "PortWatcher.[Symbol.asyncIterator]",
    ],
    "not yet",
  );
}
