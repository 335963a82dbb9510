/**
 * What the declarations in tools/types/ promise is checked by the type checker: each `@ts-expect-error` is an
 * error of its own where the line below it is accepted, as it would be if the modules had no types.
 */
import {
  assert,
  assertEquals,
  assertExists,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { type Cookie, getCookies, setCookie } from "@std/http/cookie";
import { accepts } from "@std/http/negotiation";
import { ServerSentEventStream } from "@std/http/server-sent-event-stream";
import { isErrorStatus, STATUS_CODE, STATUS_TEXT, type StatusCode } from "@std/http/status";
import { BaseHandler, ConsoleHandler, getLogger, type LogRecord, setup } from "@std/log";

Deno.test("@std/assert has types", async () => {
  const found: string | undefined = ["a"].at(0);
  assertExists(found);
  const length: number = found.length;
  assertEquals(length, 1);
  const unknown: unknown = new TypeError("no");
  assertInstanceOf(unknown, TypeError);
  assertMatch(unknown.message, /no/);
  const thrown = assertThrows(() => {
    throw new RangeError("far");
  }, RangeError);
  const message: string = thrown.message;
  assert(message === "far");
  await assertRejects(() => Promise.reject(new Error("later")), Error, "later");
});

Deno.test("@std/cli/parse-args infers the type of each option", () => {
  const options = parseArgs(["-h", "--listen", "8080", "--tag=a", "--tag=b", "file", "1"], {
    boolean: ["help", "check"],
    string: ["listen", "level", "tag"],
    collect: ["tag"],
    alias: { help: "h" },
    default: { level: "info" },
  });

  const help: boolean = options.help;
  const short: boolean = options.h;
  const listen: string | undefined = options.listen;
  const level: string = options.level;
  const tags: string[] = options.tag;
  const rest: Array<string | number> = options._;
  const other: unknown = options["not described"];
  assertEquals(
    [help, short, options.check, listen, level, tags, rest, other],
    [true, true, false, "8080", "info", ["a", "b"], ["file", 1], undefined],
  );
  assertEquals(parseArgs(["--any=1"]).any.toFixed(1), "1.0");
  assertEquals(parseArgs(["--", "a"], { "--": true })["--"], ["a"]);
});

Deno.test("@std/http has types", () => {
  const notFound: 404 = STATUS_CODE.NotFound;
  const text: "Not Found" = STATUS_TEXT[notFound];
  const code: StatusCode = 200;
  assertEquals([text, isErrorStatus(code)], ["Not Found", false]);
  const headers = new Headers();
  const cookie: Cookie = { name: "a", value: "b", sameSite: "Lax" };
  setCookie(headers, cookie);
  assertEquals(headers.get("set-cookie"), "a=b; SameSite=Lax");
  const best: string | undefined = accepts(new Request("http://a.test/"), "text/html");
  assertEquals(best, "text/html");
  assertEquals(new ServerSentEventStream() instanceof TransformStream, true);
});

Deno.test("@std/log has types", () => {
  const lines: string[] = [];
  class Lines extends BaseHandler {
    override log(message: string): void {
      lines.push(message);
    }
  }
  const formatter = (record: LogRecord) => `${record.levelName} ${record.msg}`;
  setup({
    handlers: { lines: new Lines("INFO", { formatter }), console: new ConsoleHandler("CRITICAL") },
    loggers: { types: { level: "DEBUG", handlers: ["lines", "console"] } },
  });
  getLogger("types").info("hello");
  getLogger("types").debug("not this");
  assertEquals(lines, ["INFO hello"]);
});

/** Only for the type checker. */
export function mistakes(): void {
  // @ts-expect-error: two types that do not compare
  assertEquals(1, "1");
  // @ts-expect-error: not a string
  assertMatch(1, /1/);
  // @ts-expect-error: not a function
  assertThrows(1);
  // @ts-expect-error: not a promise
  assertRejects(() => 1);
  // @ts-expect-error: not an array
  parseArgs("--help");
  // @ts-expect-error: no such option of the parser
  parseArgs([], { strings: ["listen"] });
  // @ts-expect-error: a string or undefined
  parseArgs([], { string: ["listen"] }).listen.length;
  // @ts-expect-error: an alias has the name on the left of it as the option
  parseArgs([], { boolean: ["help"], alias: { h: "help" } }).h satisfies boolean;
  // @ts-expect-error: a record of strings
  getCookies(new Headers()) satisfies Record<string, number>;
  // @ts-expect-error: no such attribute
  setCookie(new Headers(), { name: "a", value: "b", sameSite: "Loose" });
  // @ts-expect-error: no such code
  STATUS_CODE.Fine;
  // @ts-expect-error: 299 is not assigned
  299 satisfies StatusCode;
  // @ts-expect-error: not a name
  getLogger(1);
  // @ts-expect-error: no such level
  setup({ loggers: { types: { level: "LOUD" } } });
}
