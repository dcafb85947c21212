// The services that Restate's server calls: one that is told of events, and one that takes forty durable steps.
// node restate.mjs ; REPORT

import http2 from "node:http2";
import * as restate from "@restatedev/restate-sdk";
import { reporter } from "./front.mjs";

const begun = reporter();
const ANSWER = { role: "assistant", blocks: [{ type: "tool_call", id: "call_0", name: "noop", input: {} }] };

const events = restate.service({
  name: "events",
  handlers: {
    take: async (_, event) => {
      begun(event?.comment?.id ?? 0);
    },
  },
});

// A turn is two steps: the model's answer, and the tool's result. The answer is how long all of them took, in milliseconds.
const turns = restate.service({
  name: "turns",
  handlers: {
    take: async (context, count) => {
      const began = performance.now();
      for (let turn = 0; turn < count; turn += 1) {
        await context.run("model", () => ANSWER);
        await context.run("tool", () => "nothing");
      }
      return performance.now() - began;
    },
  },
});

const handler = restate.createEndpointHandler({ services: [events, turns] });
const server = http2.createServer(handler);
server.listen(0, "127.0.0.1", () => console.log(`listening http://127.0.0.1:${server.address().port}`));
