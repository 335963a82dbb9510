/** What every engine, which talks to clients, has in common. */

import type { ProxyEvent } from "../observe/events.ts";
import type { ResolvedListen } from "../config/listen_options.ts";
import type { ListenerMeter } from "../observe/metrics/meters.ts";

/** Listens at one address until it is told to stop. */
export interface EngineListener {
  /** Where clients reach it, as `host:port` or `unix:/path`. */
  readonly address: string;
  /** Serves by other options from now on, which name the same address and engine, and TLS where it was. */
  update(listen: ResolvedListen): void;
  /**
   * Takes no new connections, closes idle ones soon, and resolves once all requests have a response. A successor can bind
   * the address as soon as the engine can close it.
   */
  stop(): Promise<void>;
  /** Cuts every connection. */
  cut(): void;
}

/** Why a client was refused for its certificate, or for having none. */
type ClientRefusal = Omit<ProxyEvent<"client_certificate">, "kind" | "address">;

/** What a listener has to tell. */
export interface ListenerEvents {
  /** Counts connections; `null` where nobody wants to know. @default {null} */
  readonly meter?: ListenerMeter | null;
  /** Accepting fails; told once, until it has worked for a while again. */
  readonly onError: (address: string, error: unknown) => void;
  /** Accepting works again, and how long it had not. */
  readonly onRecovery: (address: string, afterMs: number) => void;
  /**
   * The files of a certificate have changed, why the new one is not used (`null` when it is), and the names that it is for
   * where there are several certificates.
   */
  readonly onCertificate: (address: string, problem: string | null, names?: readonly string[]) => void;
  /** A client was refused for its certificate. */
  readonly onClientRefused: (address: string, refusal: ClientRefusal) => void;
  /** A function of the configuration threw, of this name. */
  readonly onCallbackError: (name: string, error: unknown) => void;
}

/** An address to listen at could not be opened. */
export class ListenError extends Error {
  /** Name of the class. */
  override readonly name = "ListenError";

  /** @internal Whether another listener has the address. */
  get inUse(): boolean {
    return isInUse(this.cause);
  }
}

function isInUse(error: unknown): boolean {
  // Errors of `node:net` are told apart by their codes alone.
  return error instanceof Deno.errors.AddrInUse || (error as { code?: unknown })?.code === "EADDRINUSE";
}

/** Makes the error for a place that could not be opened. */
export function listenError(place: string, error: unknown): ListenError {
  return new ListenError(`Cannot listen at ${place}: ${reasonOf(error, place)}`, { cause: error });
}

function reasonOf(error: unknown, place: string): string {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (isInUse(error)) return "the address is in use";
  if (code === "EADDRNOTAVAIL") return "this machine does not have the address";
  if (code === "EACCES" || error instanceof Deno.errors.PermissionDenied) {
    return "permission denied by the system";
  }
  if (error instanceof Deno.errors.NotCapable) {
    return `run with ${place.startsWith("unix:") ? missingFor(place.slice(5)) : "--allow-net"}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** A unix socket is read and written too; the runtime names one of what is missing. */
function missingFor(path: string): string {
  const needed = [
    { name: "net", host: `unix:${path}` },
    { name: "read", path },
    { name: "write", path },
  ] as const;
  return needed.filter((each) => Deno.permissions.querySync(each).state !== "granted")
    .map(({ name }) => `--allow-${name}`).join(", ");
}
