// Run an agent's JavaScript inside a sandbox, where `_runner.py` has prepared everything: the source
// is the working directory, the message is on standard input, and the request is in a file of its own.
// What it says goes to the same channel, in the same lines, as `_channel.py` writes. Node 20 or newer.

import { closeSync, readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

const PIECE = 4096; // characters of a text in one line
const ENTRY = /\bexports?\b[^;]*\bhandler\b|\bexport\s+default\b/;

let channel = Number(process.env.ARGOSY_CHANNEL_FD);
const given = Number(process.env.ARGOSY_REQUEST_FD);
const request = JSON.parse(readFileSync(given, "utf8"));
closeSync(given);
delete process.env.ARGOSY_CHANNEL_FD;
delete process.env.ARGOSY_REQUEST_FD;
process.argv.splice(1, 1); // as `node agent.mjs MESSAGE` would have it
const path = process.argv[1];

function send(kind, fields) {
  let data = Buffer.from(`${JSON.stringify({ type: kind, ...fields })}\n`);
  while (data.length && channel !== null) {
    try {
      data = data.subarray(writeSync(channel, data));
    } catch {
      channel = null; // nobody listens any more: the run is over
    }
  }
}

function sendAnswer(text) {
  const whole = text.toWellFormed();
  for (let start = 0, end; start < whole.length; start = end) {
    end = Math.min(start + PIECE, whole.length);
    const last = whole.charCodeAt(end - 1);
    if (end < whole.length && last >= 0xd800 && last < 0xdc00) end += 1; // not half a character
    send("message", { text: whole.slice(start, end), answer: true });
  }
}

function textOf(value) {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "";
  return JSON.stringify(value) ?? String(value);
}

// A text; or an object whose `response` (else `output`, else all of it) is the text.
function answer(result) {
  if (result === null || result === undefined) return send("result", { from: "said", extra: {} });
  let extra = {};
  let said = result;
  if (typeof result === "object" && !Array.isArray(result)) {
    extra = { ...result };
    said = "response" in extra ? extra.response : (extra.output ?? extra);
    delete extra.response;
    if (said === result || !("response" in result || "output" in result)) extra = {};
  }
  sendAnswer(textOf(said));
  return send("result", { from: "answer", extra });
}

async function stream(pieces) {
  for await (const piece of pieces) sendAnswer(textOf(piece));
  send("result", { from: "answer", extra: {} });
}

function isStream(value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Symbol.asyncIterator in value || Symbol.iterator in value;
}

function fail(error) {
  const root = `${process.cwd()}/`;
  const about = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error);
  const trace = (error instanceof Error && error.stack) || about;
  const shown = (text) => text.toWellFormed().replaceAll(`file://${root}`, "").replaceAll(root, "");
  const message = shown(about).slice(0, PIECE);
  send("error", { message, traceback: shown(trace).slice(0, PIECE) });
  process.exit(1);
}

process.on("uncaughtException", fail);
const isModule = ENTRY.test(readFileSync(path, "utf8"));
// Before anything of the agent's runs: it says how its standard output is to be read.
send("start", { stdout: isModule ? "log" : "say" });
try {
  const module = await import(pathToFileURL(path).href);
  const handler = module.handler ?? module.default?.handler ?? module.default;
  if (isModule && typeof handler === "function") {
    const result = await handler(request);
    await (isStream(result) ? stream(result) : answer(result));
    process.exit();
  } else if (isModule) {
    send("result", { from: "stdout", extra: {} });
  }
} catch (error) {
  fail(error);
}
