/** No regular expression that sees bytes of clients or servers takes more than linear time: long inputs would never come to an end. */

import { assert, assertEquals } from "@std/assert";

const LIB = `${import.meta.dirname}/../../lib`;
/** What only the operator writes: configurations and command lines. */
const OF_OPERATORS = ["cli", "config", "simulator", "admin/page"];
/** A literal of a regular expression, behind what no division follows. */
const LITERAL =
  /(?<=[=(,:?&|!]\s*|return )\/(?![*/ ])((?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\[\n])+)\/([dgimsuvy]*)/g;
const LENGTH = 200_000;
/** A hundred times what all of them take; one of quadratic time takes minutes. */
const PATIENCE_MS = 120_000;

declare const self: { postMessage(message: unknown): void };

/** What runs in a worker, since nothing else can end a match that does not. */
function matchAll(expressions: readonly (readonly [source: string, flags: string])[], length: number): void {
  for (const [source, flags] of expressions) {
    self.postMessage(`/${source}/${flags}`);
    const letters = new Set([...source.replaceAll(/\\[a-zA-Z]/g, ""), ..."a0A /.%,;:\t\n-"]);
    const prefix = /^\^?((?:[\w -]|\\\/|:)*)/.exec(source)![1]!.replaceAll("\\", "").slice(0, -1);
    for (const letter of letters) {
      const run = letter.repeat(length);
      for (const text of [`${run}\0`, `${prefix}${run}\0`, `${prefix}a${run}\n\0`]) {
        text.search(new RegExp(source, flags));
      }
    }
  }
  self.postMessage(null);
}

/** `null` when all came to an end, or else the one that did not. */
async function findSlow(expressions: readonly (readonly [string, string])[]): Promise<string | null> {
  const code = `(${matchAll})(${JSON.stringify(expressions)}, ${LENGTH})`;
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), {
    type: "module",
  });
  let running = "";
  try {
    return await new Promise<string | null>((resolve, reject) => {
      const timer = setTimeout(() => resolve(running), PATIENCE_MS);
      worker.onmessage = ({ data }) => {
        if (data !== null) return void (running = data);
        clearTimeout(timer);
        resolve(null);
      };
      worker.onerror = ({ message }) => reject(new Error(message));
    });
  } finally {
    worker.terminate();
  }
}

async function* sourceFiles(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (OF_OPERATORS.some((each) => path === `${LIB}/${each}`)) continue;
    if (isDirectory) yield* sourceFiles(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

Deno.test("regular expressions take linear time", async () => {
  const found = new Map<string, readonly [string, string]>();
  for await (const path of sourceFiles(LIB)) {
    const text = (await Deno.readTextFile(path)).replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "");
    for (const [literal, source = "", flags = ""] of text.matchAll(LITERAL)) {
      found.set(literal, [source, flags]);
    }
  }
  assert(found.size > 80, `${found.size} regular expressions`);
  assertEquals(await findSlow([...found.values()]), null);
});
