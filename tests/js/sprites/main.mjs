// The official Sprites SDK against a sprite host: every public method, by area.
// Arguments: the node_modules to load from, the host's URL, its token, the URL of a host with tiny limits and the same token.
// Prints one JSON array, an object per method:
// { area, method, outcome: "passed" | "failed" | "not run" | "missing", detail }. What is in it is judged by the caller.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Area, instrument, judge } from "./harness.mjs";

const [modules, baseURL, token, limitedURL] = process.argv.slice(2);
const folder = join(modules, "@fly/sprites/dist");
const called = new Set();
const { methods, sdk } = instrument(await import(pathToFileURL(join(folder, "index.js"))), folder, called);
const client = new sdk.SpritesClient(token, { baseURL });

const here = new URL("./areas/", import.meta.url);
const rows = new Map();
for (const file of readdirSync(here).sort()) {
  const area = new Area(file.replace(/\.mjs$/, ""));
  (await import(new URL(file, here))).default(area);
  // A sprite of its own: areas don't see each other's sessions, files and services.
  const sprite = await client.createSprite(`sdk-${area.name}`);
  for (const check of area.checks) {
    const detail = await judge(check, { sdk, client, sprite, baseURL, limitedURL, token }, called);
    for (const method of check.methods) {
      const before = rows.get(method);
      if (before?.outcome === "failed") continue;
      rows.set(method, { area: area.name, method, outcome: detail ? "failed" : "passed", detail });
    }
  }
  for (const [method, detail] of area.reasons) {
    rows.set(method, { area: area.name, method, outcome: "not run", detail });
  }
  await sprite.delete();
}
for (const method of methods) {
  if (!rows.has(method)) rows.set(method, { area: "none", method, outcome: "missing" });
}
for (const row of rows.values()) {
  if (!methods.has(row.method)) Object.assign(row, { outcome: "failed", detail: "the SDK has no such method" });
}
process.stdout.write(JSON.stringify([...rows.values()]), () => process.exit(0));
