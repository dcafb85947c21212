// Ports inside a sprite: tunnels to them, and news of what listens.

import { connect } from "node:net";
import { assert, once, until } from "../harness.mjs";

// A server inside the sprite that sends back what it is sent, in capitals; it says its port first.
const SHOUTER = `
use IO::Socket::INET; $| = 1;
my $server = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1") or die $!;
print "port ", $server->sockport, "\\n";
while (my $peer = $server->accept) {
  while (sysread($peer, my $data, 65536)) { print $peer uc $data; $peer->flush }
  close $peer;
}
`;

async function shouter(sprite) {
  const command = sprite.spawn("perl", ["-e", SHOUTER]);
  const said = await until(command.stdout, "\n");
  return { command, port: Number(/port (\d+)/.exec(said)[1]) };
}

async function shouted(address, text) {
  const socket = connect(Number(address.split(":")[1]), "localhost");
  await once(socket, "connect");
  socket.write(text);
  let seen = "";
  for await (const chunk of socket) {
    seen += chunk;
    if (seen.length >= text.length) break;
  }
  return seen;
}

export default function (area) {
  area.check(
    ["Sprite.proxyPort", "ProxySession.localAddr", "ProxySession.close", "ProxySession.wait"],
    async ({ sprite }) => {
      const { command, port } = await shouter(sprite);
      const session = await sprite.proxyPort(0, port);
      const ended = session.wait();
      assert.equal(await shouted(session.localAddr(), "hello"), "HELLO");
      const big = "x".repeat(3_000_000);
      assert.equal(await shouted(session.localAddr(), big), big.toUpperCase());
      session.close();
      await ended;
      // Nobody listens there: the tunnel ends without a byte.
      const nowhere = await sprite.proxyPort(0, 1);
      assert.equal(await shouted(nowhere.localAddr(), "hello").catch(() => ""), "");
      nowhere.close();
      command.kill("SIGKILL");
      await command.wait();
    },
  );

  area.check(
    [
      "Sprite.proxyPorts",
      "proxyPort",
      "proxyPorts",
      "ProxySession.start",
      "ProxyManager.addSession",
      "ProxyManager.closeAll",
      "ProxyManager.waitAll",
    ],
    async ({ sdk, client, sprite }) => {
      const { command, port } = await shouter(sprite);
      const mapping = { localPort: 0, remotePort: port, remoteHost: "127.0.0.1" };
      const sessions = [
        ...(await sprite.proxyPorts([mapping])),
        ...(await sdk.proxyPorts(client, sprite.name, [mapping])),
        await sdk.proxyPort(client, sprite.name, 0, port),
      ];
      const own = new sdk.ProxySession(client, sprite.name, mapping);
      await own.start();
      const manager = new sdk.ProxyManager();
      for (const session of [...sessions, own]) {
        assert.equal(await shouted(session.localAddr(), "hi"), "HI");
        manager.addSession(session);
      }
      const ended = manager.waitAll();
      manager.closeAll();
      await ended;
      command.kill("SIGKILL");
      await command.wait();
    },
  );

  area.check(
    ["Sprite.watchPorts", "PortWatcher.next", "PortWatcher.close", "PortWatcher.isClosed"],
    async ({ sprite }) => {
      const before = await shouter(sprite);
      const watcher = await sprite.watchPorts();
      const list = await watcher.next();
      assert.equal(list.type, "port_list");
      const known = list.ports.find(({ port }) => port === before.port);
      assert.deepEqual([known.type, known.address, known.pid > 0], ["port_opened", "127.0.0.1", true]);
      const after = await shouter(sprite);
      const opened = await watcher.next();
      assert.deepEqual([opened.type, opened.port], ["port_opened", after.port]);
      after.command.kill("SIGKILL");
      const closed = await watcher.next();
      assert.deepEqual([closed.type, closed.port], ["port_closed", after.port]);
      assert.ok(!watcher.isClosed());
      watcher.close();
      assert.ok(watcher.isClosed());
      assert.equal(await watcher.next(), null);
      before.command.kill("SIGKILL");
      await before.command.wait();
    },
  );

  area.check(
    ["PortWatcher.connect", "PortWatcher.[Symbol.asyncIterator]", "SpriteCommand.wait"],
    async ({ sdk, client, sprite }) => {
      const watcher = new sdk.PortWatcher(client, sprite.name);
      await watcher.connect();
      for await (const event of watcher) {
        assert.deepEqual(event, { type: "port_list", ports: [] });
        break;
      }
      // A terminal's own connection tells of ports as well.
      const command = sprite.createSession("perl", ["-e", SHOUTER]);
      const opened = await new Promise((resolve) => {
        command.on("message", (message) => message.type === "port_opened" && resolve(message));
      });
      assert.ok(opened.port > 0 && opened.pid > 0);
      command.kill("SIGKILL");
      await command.wait();
    },
  );
}
