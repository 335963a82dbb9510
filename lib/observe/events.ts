/** Everything that the proxy reports, except the requests themselves. */

import type { LevelName } from "@std/log/levels";

/** The fields of each kind of event. */
export interface ProxyEvents {
  /** The proxy accepts connections. */
  "listening": {
    /** Where, as `host:port`. */
    readonly addresses: readonly string[];
    /** Id of the process, for signals such as `SIGHUP`. */
    readonly pid: number;
  };
  /** A worker has replaced another one, and listens. */
  "worker_started": {
    /** Which of the workers, from 1 on. */
    readonly worker: number;
    /** The process that it is. */
    readonly pid: number;
  };
  /** A worker has ended, or was ended because it did not respond any more; another one replaces it. */
  "worker_ended": {
    /** Which of the workers, from 1 on. */
    readonly worker: number;
    /** Why, as the end of a sentence. */
    readonly reason: string;
    /** When another one is started. */
    readonly restartInMs: number;
  };
  /** The module of the configuration exports something that is no key of a configuration. */
  "unread_export": {
    /** Name of the export. */
    readonly name: string;
  };
  /** The configuration says something that is allowed and probably not meant. */
  "config_warning": {
    /** What that is, with its place. */
    readonly message: string;
  };
  /** A server became healthy or unhealthy. */
  "health": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address as configured. */
    readonly server: string;
    /** What it is from now on. */
    readonly healthy: boolean;
    /** Why the last check failed; `null` when it did not. */
    readonly reason: string | null;
    /** How many servers of the pool are healthy now, this one counted. */
    readonly healthyServers: number;
    /** How many servers the pool has. */
    readonly totalServers: number;
  };
  /** Servers cannot be checked because this machine lacks something; reported once, until a check works again. */
  "health_check_error": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address of the first server that could not be checked, as configured; its health stays as it was. */
    readonly server: string;
    /** What is lacking. */
    readonly message: string;
  };
  /** A server was taken out because requests to it fail, or is let in again, with one request at a time to begin with. */
  "ejection": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address as configured. */
    readonly server: string;
    /** What it is from now on. */
    readonly ejected: boolean;
    /** What failed, and for how long it is out; `null` when it is let in again. */
    readonly reason: string | null;
    /** How many servers of the pool can take requests now. */
    readonly availableServers: number;
    /** How many servers the pool has. */
    readonly totalServers: number;
  };
  /** So few servers of a pool are up that all are used, or that is over. */
  "panic": {
    /** Name of the pool. */
    readonly pool: string;
    /** Whether all are used from now on. */
    readonly panic: boolean;
    /** How many servers of the pool are up. */
    readonly availableServers: number;
    /** How many servers the pool has. */
    readonly totalServers: number;
  };
  /** A search for the servers of a pool changed them, failed for the first time, or works again. */
  "discovery": {
    /** Name of the pool. */
    readonly pool: string;
    /** What happened. Of several failed searches in a row, only the first is reported; the servers stay as they are. */
    readonly state: "changed" | "failed" | "recovered";
    /** Why the search failed; `null` when it did not. */
    readonly message: string | null;
    /** Addresses of servers that are new. */
    readonly added: readonly string[];
    /** Addresses of servers that have gone. */
    readonly removed: readonly string[];
    /** How many servers the pool has now. */
    readonly totalServers: number;
  };
  /** A request got a local reply, or none, because something failed. */
  "request_failure": {
    /** The id that `requestId()` has given the request, otherwise its number in its process. */
    readonly requestId: string;
    /** Method of the client's request. */
    readonly method: string;
    /** Path and query as received. */
    readonly target: string;
    /** Status that the client got; 499 when it had gone. */
    readonly status: number;
    /** Error type such as `connection_refused`. */
    readonly code: string;
    /** What failed, with the reason underneath; for the log only. */
    readonly message: string;
    /** The server that it failed at; `null` when none was involved. */
    readonly server: string | null;
    /** Who is to blame. Failures of clients are only worth a line when one looks for them. */
    readonly source: "client" | "upstream" | "proxy";
    /** Where in a filter it was thrown; `null` for everything else. */
    readonly stack: string | null;
  };
  /** A filter logged a message about a request. */
  "request_log": {
    /** How important it is. */
    readonly level: "debug" | "info" | "warn" | "error";
    /** The id that `requestId()` has given the request, otherwise its number in its process. */
    readonly requestId: string;
    /** The message. */
    readonly message: string;
    /** Fields of the message. */
    readonly fields: Readonly<Record<string, unknown>>;
  };
  /** A limiter's table is full: from now on new keys replace those that have used least of their limits. */
  "limiter_overflow": {
    /** Name of the policy. */
    readonly policy: string;
    /** Keys that the table holds. */
    readonly capacity: number;
  };
  /** The store that limits are counted in can be used, or not any more. */
  "limiter_store": {
    /** Where it is, without user and password. */
    readonly address: string;
    /** What it is from now on. */
    readonly available: boolean;
    /** Why it is not; `null` when it is. */
    readonly reason: string | null;
    /** How many corrections of counts, by `charge`, were too many to be kept until it can be used again, and are lost. */
    readonly dropped: number;
  };
  /** A listener cannot accept connections; it tries again until it can; reported once until then. */
  "listener_error": {
    /** Where it listens, as `host:port`. */
    readonly address: string;
    /** What went wrong. */
    readonly message: string;
    /** How many descriptors the process holds; `null` where it may not look (only on Linux, with `--allow-all`). */
    readonly openDescriptors: number | null;
    /** How many requests are running. */
    readonly runningRequests: number;
  };
  /** A listener accepts connections again, and has done so for a second. */
  "listener_recovered": {
    /** Where it listens, as `host:port`. */
    readonly address: string;
    /** How long it took, in milliseconds. */
    readonly afterMs: number;
  };
  /** A client was refused for its certificate, or for having none; at most one a second is reported. */
  "client_certificate": {
    /** Where the listener is reached, as `host:port`. */
    readonly address: string;
    /** Address of the client. */
    readonly client: string;
    /** Subject of its certificate (RFC 4514); `null` when it has none, or that cannot be read. */
    readonly subject: string | null;
    /** SHA-256 of the certificate; `null` when it has none, or that cannot be read. */
    readonly fingerprint: string | null;
    /** Why it was refused. */
    readonly reason: string;
    /** How many were refused since the event before. */
    readonly count: number;
  };
  /** A certificate ends within 30 days, 7 days or a day, or has ended; reported each day. */
  "certificate_expiry": {
    /** Where the listener is reached, as configured. */
    readonly address: string;
    /** Names that it is for. */
    readonly names: readonly string[];
    /** When it ends, as ISO 8601. */
    readonly notAfter: string;
    /** Whole days until then; 0 when it has ended. */
    readonly daysLeft: number;
    /** Whether it has ended. */
    readonly ended: boolean;
  };
  /** The files of a listener's certificate have changed. */
  "certificate": {
    /** Where the listener is reached, as `host:port`. */
    readonly address: string;
    /** Names that it is for; none where the listener has no other certificate. */
    readonly names: readonly string[];
    /** Why the new certificate is not used; `null` when it is. */
    readonly problem: string | null;
  };
  /** The access log cannot be written (reported once), or can be written again. */
  "access_log": {
    /** Path of its file. */
    readonly path: string;
    /** Why it cannot be written; `null` when it can. */
    readonly problem: string | null;
  };
  /** A function of the configuration that runs aside (`logging`, a callback) threw. */
  "callback_error": {
    /** Name of the function as configured. */
    readonly name: string;
    /** What went wrong. */
    readonly message: string;
    /** Where it was thrown; `null` when that is not known. */
    readonly stack: string | null;
  };
  /** The admin listener accepts connections. */
  "admin_listening": {
    /** Where, as `host:port` or `unix:/path`. */
    readonly address: string;
    /** Whether it speaks TLS. */
    readonly tls: boolean;
  };
  /** Somebody has changed something by the admin listener. */
  "admin_change": {
    /** Name of the token that it was done with. */
    readonly who: string;
    /** Address that it came from; `""` over a unix socket. */
    readonly client: string;
    /** What was done, such as `drain` or `ban`. */
    readonly action: string;
    /** To what, such as `server 10.0.0.1:80 of pool api`. */
    readonly subject: string;
    /** Pool of the server that was changed; `null` for everything else. */
    readonly pool: string | null;
    /** The server that was changed, as configured; `null` for everything else. */
    readonly server: string | null;
    /** Why it could not be done; `null` when it was. */
    readonly error: string | null;
  };
  /** The admin listener refused requests that may be attacks: wrong tokens, other sites, wrong hosts. Reported once a second. */
  "admin_refusal": {
    /** Address of the client; `""` over a unix socket. */
    readonly client: string;
    /** What was wrong with the last one. */
    readonly reason: string;
    /** How many there were since the last event. */
    readonly count: number;
  };
  /** A reload was tried. */
  "reload": {
    /**
     * `applied`: it runs now; `rejected`: it cannot be used, and nothing has changed; `rolled_back`: too many of its requests
     * failed, and the one before runs again.
     */
    readonly outcome: "applied" | "rejected" | "rolled_back";
    /** Number of the configuration that runs now; 1 is the one of the start. */
    readonly generation: number;
    /** SHA-256 of the sources that were read, in hexadecimal; `null` when they could not be. */
    readonly hash: string | null;
    /** What asked for it, such as `SIGHUP`; after `rolled_back` what has failed. */
    readonly trigger: string;
    /** What is wrong with it; empty when it runs. */
    readonly problems: readonly string[];
    /** Addresses of modules that were not loaded anew. */
    readonly notReloaded: readonly string[];
  };
  /** The proxy stops: it takes no new connections and finishes the running requests. */
  "shutdown": {
    /** What stopped it, such as `SIGTERM`. */
    readonly reason: string;
    /** Requests that have no response yet. */
    readonly runningRequests: number;
    /** How long it goes on to take requests all the same, for load balancers in front to notice; in milliseconds. */
    readonly delayMs: number;
    /** How long they may take from then on, in milliseconds. */
    readonly gracePeriodMs: number;
  };
  /** The proxy has stopped. */
  "stopped": {
    /** Requests that did not end within the grace period and were cut off. */
    readonly abandonedRequests: number;
  };
}

/** One event; `kind` says which. `ProxyEvent<"health">` is one of that kind. */
export type ProxyEvent<Kind extends keyof ProxyEvents = keyof ProxyEvents> = {
  [Each in Kind]: { readonly kind: Each } & Readonly<ProxyEvents[Each]>;
}[Kind];

// How much is logged.

/** Names of the levels, the one that says most first. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const satisfies readonly LogLevel[];

/** A level: what is less important is not logged. Requests are `info`. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** The formats that a log can have. */
export const LOG_FORMATS = ["text", "json"] as const;

/** `"text"` for people, `"json"` for one object a line. */
export type LogFormat = typeof LOG_FORMATS[number];

const STD_NAMES: Readonly<Record<LogLevel, LevelName>> = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
};

/** Whether lines of `level` are logged when the log is set to `threshold`. */
export function isLogged(level: LogLevel, threshold: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(threshold);
}

/** The name that `@std/log` has for a level. */
export function toStdLevel(level: LogLevel): LevelName {
  return STD_NAMES[level];
}
