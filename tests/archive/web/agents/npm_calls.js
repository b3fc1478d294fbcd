"use strict";
// Makes calls of dicomweb-client of npm, one after the other. On standard input is
// {modules, url, calls: [[name, options], …]}, and on standard output {methods, results: [{value} or {error}, …]}.

const { readFileSync } = require("node:fs");

const { modules, url, calls } = JSON.parse(readFileSync(0));
globalThis.XMLHttpRequest = require(`${modules}/xhr2`);
const { DICOMwebClient } = require(`${modules}/dicomweb-client`).api;
// It says on the console what it asks for.
console.debug = console.log = console.warn = console.error = () => {};

const bytes = (path) => new Uint8Array(readFileSync(path)).buffer;

function plain(value) {
  if (value instanceof ArrayBuffer) return { base64: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  return value ?? null;
}

async function call([name, { singlepart, datasets, ...options }]) {
  const client = new DICOMwebClient({ url, singlepart });
  if (datasets) options.datasets = datasets.map(bytes);
  try {
    const [words] = "words" in options ? [options.words] : [options];
    return { value: plain(await client[name](words)) };
  } catch (error) {
    return { error: `${error?.message ?? error} ${error?.status ?? ""}` };
  }
}

async function main() {
  const results = [];
  for (const each of calls) results.push(await call(each));
  const methods = Object.getOwnPropertyNames(DICOMwebClient.prototype).filter((name) => !/^(_|constructor$)/.test(name));
  process.stdout.write(JSON.stringify({ methods, results }));
}

main();
