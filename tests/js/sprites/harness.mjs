// What the SDK's public methods are, and which of them a check really called.
//
// Public is what the package exports, without what its own type declarations mark `private` or `protected`. Methods are named
// `Class.method`; a getter counts as a method, an inherited method under the name of the exported class.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const NOT_OURS = new Set([EventEmitter.prototype, Error.prototype, Object.prototype]);
const CHECK_WITHIN = 30_000;

/** The names, per class, that the declarations in `folder` keep to the SDK itself. */
function hidden(folder) {
  const names = new Map();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".d.ts"))) {
    let current = "";
    for (const line of readFileSync(join(folder, file), "utf8").split("\n")) {
      current = /^(?:export )?declare class (\w+)/.exec(line)?.[1] ?? current;
      const name = /^ {4}(?:private|protected) (?:static |readonly )*(\w+)/.exec(line)?.[1];
      if (name) names.set(current, (names.get(current) ?? new Set()).add(name));
    }
  }
  return names;
}

const isClass = (value) => typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));
const shown = (key) => (typeof key === "symbol" ? `[${key.description}]` : key);

/**
 * Finds every public method and makes each report its calls to `called`. Returns the names, and the SDK with the exported
 * functions wrapped as well.
 */
export function instrument(sdk, declarations, called) {
  const secret = hidden(declarations);
  const methods = new Set();
  const wrapped = new Set();
  const exports = { ...sdk };
  const wrap = (owner, key, nameOf) => {
    const property = Object.getOwnPropertyDescriptor(owner, key);
    const kind = property.get ? "get" : "value";
    if (wrapped.has(property[kind])) return;
    const original = property[kind];
    property[kind] = function (...given) {
      called.add(nameOf(this));
      return original.apply(this, given);
    };
    wrapped.add(property[kind]);
    Object.defineProperty(owner, key, property);
  };
  const callable = (owner, key) => {
    const property = Object.getOwnPropertyDescriptor(owner, key);
    return key !== "constructor" && (property.get || typeof property.value === "function");
  };
  for (const [exported, value] of Object.entries(sdk)) {
    if (!isClass(value)) {
      if (typeof value !== "function") continue;
      methods.add(exported);
      exports[exported] = (...given) => {
        called.add(exported);
        return value(...given);
      };
      continue;
    }
    for (const key of Reflect.ownKeys(value)) {
      if (["length", "name", "prototype"].includes(key) || !callable(value, key)) continue;
      methods.add(`${exported}.${shown(key)}`);
      wrap(value, key, () => `${exported}.${shown(key)}`);
    }
    for (let owner = value.prototype; !NOT_OURS.has(owner); owner = Object.getPrototypeOf(owner)) {
      for (const key of Reflect.ownKeys(owner)) {
        if (!callable(owner, key) || secret.get(owner.constructor.name)?.has(key)) continue;
        methods.add(`${exported}.${shown(key)}`);
        wrap(owner, key, (self) => `${self.constructor.name}.${shown(key)}`);
      }
    }
  }
  return { methods, sdk: exports };
}

/** The checks of one area, as its file declares them. */
export class Area {
  /** Checks to run: the methods each one stands for, and what it does. */
  checks = [];
  /** Methods that nothing runs, and why. */
  reasons = new Map();

  constructor(name) {
    this.name = name;
  }

  /** `run` uses all these methods; it throws if what they do is wrong. */
  check(methods, run) {
    this.checks.push({ methods, run });
  }

  /** No check runs these methods, for a reason that the table shows. */
  notRun(methods, reason) {
    for (const method of methods) this.reasons.set(method, reason);
  }
}

/** Runs one check; returns what is wrong, or nothing. */
export async function judge(check, context, called) {
  called.clear();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${CHECK_WITHIN} ms`)), CHECK_WITHIN);
  });
  try {
    await Promise.race([check.run(context), late]);
  } catch (error) {
    return error.stack ?? String(error);
  } finally {
    clearTimeout(timer);
  }
  const missed = check.methods.filter((method) => !called.has(method));
  return missed.length ? `the check never called ${missed.join(", ")}` : undefined;
}

/** Waits for one event of an emitter; an `error` event is a failure. */
export function once(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    if (event !== "error") emitter.once("error", reject);
  });
}

/** Reads a stream until it has said `text`; returns everything it said. */
export function until(stream, text) {
  return new Promise((resolve, reject) => {
    let seen = "";
    const read = (chunk) => {
      seen += chunk;
      if (seen.includes(text)) {
        stream.off("data", read);
        resolve(seen);
      }
    };
    stream.on("data", read);
    stream.once("end", () => reject(new Error(`the stream ended without ${text}: ${seen}`)));
  });
}

/** All events of one of the SDK's streams. */
export async function events(stream) {
  const all = [];
  for await (const event of stream) all.push(event);
  return all;
}

export { assert };
