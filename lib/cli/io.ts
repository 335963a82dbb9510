/** What the program has to do with the outside. */

import { nearestName } from "../core/describe_value.ts";
import type { ByteSink } from "../observe/line_writer.ts";

/** Signals that mean something else. */
type OtherSignal = "SIGHUP" | "SIGUSR2";

/** Signals that end the program. */
export type StopSignal = "SIGINT" | "SIGTERM" | "SIGBREAK";

/** The outside as an argument, so that the program can be tried without a process. */
export interface Io {
  readonly stdout: ByteSink;
  readonly stderr: ByteSink;
  /** Calls back at each signal that is meant to end the program. */
  onStopSignal(callback: (signal: StopSignal) => void): Disposable;
  /** Calls back at each signal of this kind; never where the system does not have it. */
  onSignal(signal: OtherSignal, callback: () => void): Disposable;
  /** Calls back with what was thrown where nobody could catch it; it does not end the program then. */
  onStrayError(callback: (error: unknown) => void): Disposable;
  /** Size of the terminal that `stdout` is; `null` when it is none. */
  terminal(): { readonly columns: number; readonly rows: number } | null;
  /** Whether text may have colours. */
  readonly colored: boolean;
  /** Ends the program now, whatever runs. */
  exit(code: number): void;
}

/**
 * Reads a variable of the environment; `null` where it is not set, is empty, or may not be read.
 *
 * Where Deno would ask on the terminal, it may not be read: the program must start and end without an operator who types.
 */
export function readVariable(name: string): string | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  const value = state === "granted" ? Deno.env.get(name) : undefined;
  return value === undefined || value === "" ? null : value;
}

/** Writes text at once. */
export function print(sink: ByteSink, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(sink.writeSync(bytes));
}

const SIGNALS: readonly StopSignal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** The process that this is. */
export const processIo: Io = {
  stdout: Deno.stdout,
  stderr: Deno.stderr,
  onStopSignal(callback: (signal: StopSignal) => void): Disposable {
    const stack = new DisposableStack();
    for (const signal of SIGNALS) {
      const listener = () => callback(signal);
      Deno.addSignalListener(signal, listener);
      stack.defer(() => Deno.removeSignalListener(signal, listener));
    }
    return stack;
  },
  onSignal(signal: OtherSignal, callback: () => void): Disposable {
    if (Deno.build.os === "windows") return { [Symbol.dispose]: () => {} };
    Deno.addSignalListener(signal, callback);
    return { [Symbol.dispose]: () => Deno.removeSignalListener(signal, callback) };
  },
  onStrayError(callback: (error: unknown) => void): Disposable {
    const onRejection = (event: PromiseRejectionEvent) => {
      event.preventDefault();
      callback(event.reason);
    };
    const onError = (event: ErrorEvent) => {
      event.preventDefault();
      callback(event.error);
    };
    globalThis.addEventListener("unhandledrejection", onRejection);
    globalThis.addEventListener("error", onError);
    return {
      [Symbol.dispose](): void {
        globalThis.removeEventListener("unhandledrejection", onRejection);
        globalThis.removeEventListener("error", onError);
      },
    };
  },
  terminal: () => Deno.stdout.isTerminal() ? consoleSize() : null,
  colored: !Deno.noColor,
  exit: (code: number) => Deno.exit(code),
};

/** A terminal may not know its size. */
function consoleSize(): { readonly columns: number; readonly rows: number } {
  const { columns, rows } = Deno.consoleSize();
  return columns > 0 && rows > 0 ? { columns, rows } : { columns: 80, rows: 24 };
}

// What is said of a command line that cannot be understood.

/** The command line cannot be understood. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Lets names of files through; everything else that is not known is a mistake. */
export function refuseOption(known: readonly string[]): (argument: string, key?: string) => boolean {
  return (argument, key) => {
    if (key === undefined) return true;
    const name = argument.split("=", 1)[0]!;
    const nearest = nearestName(key, known);
    const hint = nearest === undefined ? "see --help" : `did you mean --${nearest}?`;
    throw new UsageError(`Unknown option ${name}, ${hint}`);
  };
}
