import { assertEquals, assertRejects } from "@std/assert";
import { resourceShortage, withSecondLookup } from "../../../lib/core/resource_shortage.ts";

function withCode(message: string, code: string): Error {
  return Object.assign(new Error(message), { code });
}

/** Messages as Deno 2.9.6 has them. */
const FETCH = "error sending request for url (http://127.0.0.1:80/): client error (Connect): ";

const LACKING: readonly (readonly [error: unknown, what: string])[] = [
  [withCode("Too many open files (os error 24)", "EMFILE"), "Too many open files (os error 24)"],
  [
    withCode("Too many open files in system (os error 23)", "ENFILE"),
    "Too many open files in system (os error 23)",
  ],
  [
    withCode("No buffer space available (os error 105)", "ENOBUFS"),
    "No buffer space available (os error 105)",
  ],
  [withCode("Cannot allocate memory (os error 12)", "ENOMEM"), "Cannot allocate memory (os error 12)"],
  [
    withCode("Cannot assign requested address (os error 99)", "EADDRNOTAVAIL"),
    "Cannot assign requested address (os error 99)",
  ],
  [withCode("connect EMFILE 127.0.0.1:80", "EMFILE"), "connect EMFILE 127.0.0.1:80"],
  [
    new Error("proto error: io error: Too many open files (os error 24)"),
    "Too many open files (os error 24)",
  ],
  [
    new TypeError("fetch failed", {
      cause: new Error(`${FETCH}tcp open error: Too many open files (os error 24)`),
    }),
    "Too many open files (os error 24)",
  ],
  [
    new TypeError("fetch failed", {
      cause: new Error(`${FETCH}tcp connect error: Can't assign requested address (os error 49)`),
    }),
    "Can't assign requested address (os error 49)",
  ],
];

const OTHERWISE: readonly unknown[] = [
  withCode("Connection refused (os error 111)", "ECONNREFUSED"),
  withCode("getaddrinfo ENOTFOUND none.invalid", "ENOTFOUND"),
  new Error("failed to lookup address information: Name or service not known"),
  withCode("Invalid argument (os error 22)", "EINVAL"),
  new Error("the server says: too many open files"),
  new Error("fetch failed for http://h/too%20many%20open%20files%20(os%20error%2024)"),
  new TypeError("fetch failed", {
    cause: new Error(`${FETCH}dns error: failed to lookup address information`),
  }),
  "Too many open files (os error 24)",
  null,
];

Deno.test("resourceShortage() tells what this machine lacked", () => {
  for (const [error, what] of LACKING) assertEquals(resourceShortage(error), what);
});

Deno.test("resourceShortage() leaves other failures alone, and names that do not exist", () => {
  for (const error of OTHERWISE) assertEquals(resourceShortage(error), null);
});

Deno.test("resourceShortage() comes to an end with an error that is its own cause", () => {
  const error = new Error("round");
  error.cause = error;
  assertEquals(resourceShortage(error), null);
});

const LOOKUPS_THAT_FAILED: readonly Error[] = [
  new Error("failed to lookup address information: Name or service not known"),
  withCode("getaddrinfo ENOTFOUND localhost", "ENOTFOUND"),
  // As nss-mdns has it.
  withCode("Invalid argument (os error 22)", "EINVAL"),
];

Deno.test("withSecondLookup() opens again after a lookup whose descriptor has come back since", async () => {
  for (const error of LOOKUPS_THAT_FAILED) {
    let calls = 0;
    const open = () => ++calls === 1 ? Promise.reject(error) : Promise.resolve("open");
    assertEquals([await withSecondLookup(open, new AbortController().signal), calls], ["open", 2]);
  }
});

Deno.test("withSecondLookup() fails with the second lookup, and at once with any other failure", async () => {
  const other = withCode("Connection refused (os error 111)", "ECONNREFUSED");
  for (
    const [error, expected] of [
      ...LOOKUPS_THAT_FAILED.map((error) => [error, 2] as const),
      [other, 1] as const,
    ]
  ) {
    let calls = 0;
    const open = () => {
      calls++;
      return Promise.reject(error);
    };
    const thrown = await assertRejects(() => withSecondLookup(open, new AbortController().signal));
    assertEquals([thrown, calls], [error, expected]);
  }
});

Deno.test("withSecondLookup() does not open again once it is called off", async () => {
  let calls = 0;
  const controller = new AbortController();
  const open = () => {
    calls++;
    controller.abort();
    return Promise.reject(LOOKUPS_THAT_FAILED[0]);
  };
  await assertRejects(() => withSecondLookup(open, controller.signal));
  assertEquals(calls, 1);
});
