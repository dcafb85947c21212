// The HTTP front that the Node peers share: what stands between a webhook and a queue. It checks GitHub's signature over the
// raw body, hands the body on, and answers only when the queue has it.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { connect } from "node:net";

const SECRET = process.env.WEBHOOK_SECRET;

// `store(id, body)` resolves when the event is as durable as the queue makes it.
export function serve(store) {
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const body = Buffer.concat(parts);
      const expected = Buffer.from(`sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`);
      const given = Buffer.from(request.headers["x-hub-signature-256"] ?? "");
      if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
        return answer(response, 401, "signature\n");
      }
      try {
        await store(request.headers["x-github-delivery"], body.toString());
        answer(response, 200, "stored\n");
      } catch (error) {
        answer(response, 503, `${error.message}\n`);
      }
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(`listening http://127.0.0.1:${server.address().port}`));
}

function answer(response, status, text) {
  response.writeHead(status, { "content-length": Buffer.byteLength(text) });
  response.end(text);
}

// Tells the benchmark, over one kept connection, that the handler of an event has begun.
export function reporter() {
  const [host, port] = (process.env.REPORT ?? "").split(":");
  if (!port) return () => {};
  const socket = connect({ host, port: Number(port), noDelay: true });
  return (id) => socket.write(`${id}\n`);
}
