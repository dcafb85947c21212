// The official clients against the scripted model: a streamed tool call and its result, then errors as the clients see them.
// Arguments: the node_modules to load from, the server's URL. Prints one JSON object; what is in it is judged by the caller.

import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, url] = process.argv.slice(2);
const require = createRequire(join(modules, "from-here.js"));
const { Anthropic } = require("@anthropic-ai/sdk");
const { OpenAI } = require("openai");

const schema = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
const settings = { apiKey: "right", maxRetries: 0, timeout: 20_000 };

async function failure(action) {
  try {
    await action();
    return { name: "none" };
  } catch (error) {
    return {
      name: error.constructor.name,
      status: error.status ?? null,
      kind: error.error?.error?.type ?? error.type ?? null,
      code: error.code ?? null,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
      requestId: error.requestID ?? null,
      message: error.message,
    };
  }
}

async function anthropic() {
  const client = new Anthropic({ ...settings, baseURL: url });
  const tools = [{ name: "bash", description: "Runs a command.", input_schema: schema }];
  const ask = (messages) => client.messages.stream({ model: "m", max_tokens: 100, tools, messages });
  const hello = { role: "user", content: "hello" };
  let text = "";
  const stream = ask([hello]).on("text", (more) => (text += more));
  const first = await stream.finalMessage();
  const call = first.content.find((block) => block.type === "tool_use");
  const result = { type: "tool_result", tool_use_id: call.id, content: "a.txt" };
  const history = [hello, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
  const last = await ask(history).finalMessage();
  const whole = await client.messages.create({ model: "m", max_tokens: 100, tools, messages: history });
  const torn = [history[0], history[1], { role: "user", content: "and?" }];
  return {
    text,
    blocks: first.content.map((block) => block.type),
    input: call.input,
    stop: first.stop_reason,
    usage: first.usage,
    model: first.model,
    last: last.content[0].text,
    whole: whole.content[0].text,
    failures: {
      rateLimited: await failure(() => ask([hello]).finalMessage()),
      inStream: await failure(() => ask([hello]).finalMessage()),
      torn: await failure(() => ask(torn).finalMessage()),
      key: await failure(() =>
        new Anthropic({ ...settings, baseURL: url, apiKey: "wrong" }).messages.create({
          model: "m", max_tokens: 100, messages: [hello],
        }),
      ),
    },
  };
}

async function openai() {
  const client = new OpenAI({ ...settings, baseURL: `${url}/v1` });
  const tools = [{ type: "function", function: { name: "bash", description: "Runs a command.", parameters: schema } }];
  const body = (messages) => ({ model: "m", max_tokens: 100, tools, messages, stream_options: { include_usage: true } });
  const ask = (messages) => client.chat.completions.stream(body(messages));
  const hello = { role: "user", content: "hello" };
  let text = "";
  const stream = ask([hello]).on("content", (more) => (text += more));
  const first = await stream.finalChatCompletion();
  const message = first.choices[0].message;
  const call = message.tool_calls[0];
  const said = { role: "assistant", content: message.content, tool_calls: [
    { id: call.id, type: "function", function: { name: call.function.name, arguments: call.function.arguments } },
  ] };
  const history = [hello, said, { role: "tool", tool_call_id: call.id, content: "a.txt" }];
  const last = await ask(history).finalChatCompletion();
  const whole = await client.chat.completions.create({ model: "m", tools, messages: history });
  return {
    text,
    input: JSON.parse(call.function.arguments),
    stop: first.choices[0].finish_reason,
    usage: first.usage,
    model: first.model,
    last: last.choices[0].message.content,
    whole: whole.choices[0].message.content,
    failures: {
      rateLimited: await failure(() => ask([hello]).finalChatCompletion()),
      inStream: await failure(() => ask([hello]).finalChatCompletion()),
      torn: await failure(() => ask([hello, said, hello]).finalChatCompletion()),
      key: await failure(() =>
        new OpenAI({ ...settings, baseURL: `${url}/v1`, apiKey: "wrong" }).chat.completions.create({
          model: "m", messages: [hello],
        }),
      ),
    },
  };
}

console.log(JSON.stringify({ anthropic: await anthropic(), openai: await openai() }));
