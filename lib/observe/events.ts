/** All events of the proxy; requests are reported separately. */

import type { LevelName } from "@std/log/levels";

/** The fields of each kind of event. */
export interface ProxyEvents {
  /** The proxy accepts connections. */
  "listening": {
    /** Addresses, as `host:port`. */
    readonly addresses: readonly string[];
    /** Id of the process, for signals such as `SIGHUP`. */
    readonly pid: number;
  };
  /** A worker has replaced another one, and listens. */
  "worker_started": {
    /** Number of the worker, from 1. */
    readonly worker: number;
    /** Id of its process. */
    readonly pid: number;
  };
  /** A worker has ended, or was ended because it no longer responded; another one replaces it. */
  "worker_ended": {
    /** Number of the worker, from 1. */
    readonly worker: number;
    /** The reason, as the end of a sentence. */
    readonly reason: string;
    /** Delay before the replacement is started, in milliseconds. */
    readonly restartInMs: number;
  };
  /** The module of the configuration has an export that is not a configuration key. */
  "unread_export": {
    /** Name of the export. */
    readonly name: string;
  };
  /** The configuration has a part that is valid and probably not intended. */
  "config_warning": {
    /** Description of the part, with its path. */
    readonly message: string;
  };
  /** A server became healthy or unhealthy. */
  "health": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address as configured. */
    readonly server: string;
    /** New state of the server. */
    readonly healthy: boolean;
    /** Reason for the failure of the last check; `null` if it succeeded. */
    readonly reason: string | null;
    /** Number of healthy servers of the pool now, including this one. */
    readonly healthyServers: number;
    /** Number of servers of the pool. */
    readonly totalServers: number;
  };
  /**
   * Servers cannot be checked because a resource of this machine is exhausted; reported once, until a check works
   * again.
   */
  "health_check_error": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address of the first server that could not be checked, as configured; its health is unchanged. */
    readonly server: string;
    /** The exhausted resource. */
    readonly message: string;
  };
  /** A server was ejected because requests to it failed, or is available again, at first for one request at a time. */
  "ejection": {
    /** Name of the pool. */
    readonly pool: string;
    /** Address as configured. */
    readonly server: string;
    /** Whether the server is ejected now. */
    readonly ejected: boolean;
    /** The failure and the duration of the ejection; `null` if the server is available again. */
    readonly reason: string | null;
    /** Number of servers of the pool that can receive requests now. */
    readonly availableServers: number;
    /** Number of servers of the pool. */
    readonly totalServers: number;
  };
  /** So few servers of a pool are up that all are used, or this state has ended. */
  "panic": {
    /** Name of the pool. */
    readonly pool: string;
    /** Whether all servers are used from now on. */
    readonly panic: boolean;
    /** Number of servers of the pool that are up. */
    readonly availableServers: number;
    /** Number of servers of the pool. */
    readonly totalServers: number;
  };
  /** A discovery of the servers of a pool has changed them, failed for the first time, or works again. */
  "discovery": {
    /** Name of the pool. */
    readonly pool: string;
    /** The outcome. Of several consecutive failures only the first is reported; the servers stay the same. */
    readonly state: "changed" | "failed" | "recovered";
    /** Reason for the failure; `null` if the discovery succeeded. */
    readonly message: string | null;
    /** Addresses of added servers. */
    readonly added: readonly string[];
    /** Addresses of removed servers. */
    readonly removed: readonly string[];
    /** Number of servers of the pool now. */
    readonly totalServers: number;
  };
  /** A request got a local reply, or no response, because of a failure. */
  "request_failure": {
    /** Id from `requestId()`, otherwise the number of the request in its process. */
    readonly requestId: string;
    /** Method of the client's request. */
    readonly method: string;
    /** Path and query as received. */
    readonly target: string;
    /** Status for the client; 499 if it had disconnected. */
    readonly status: number;
    /** Error type such as `connection_refused`. */
    readonly code: string;
    /** The failure, with its underlying reason; for the log only. */
    readonly message: string;
    /** The server of the failed request; `null` if none was involved. */
    readonly server: string | null;
    /** The party that caused the failure. Failures of clients are logged at `debug` only. */
    readonly source: "client" | "upstream" | "proxy";
    /** Stack trace of an error in a filter; `null` for all other failures. */
    readonly stack: string | null;
  };
  /** A filter logged a message about a request. */
  "request_log": {
    /** Level of the message. */
    readonly level: "debug" | "info" | "warn" | "error";
    /** Id from `requestId()`, otherwise the number of the request in its process. */
    readonly requestId: string;
    /** The message. */
    readonly message: string;
    /** Fields of the message. */
    readonly fields: Readonly<Record<string, unknown>>;
  };
  /** A limiter's table is full: from now on new keys replace those that have used the least of their limits. */
  "limiter_overflow": {
    /** Name of the policy. */
    readonly policy: string;
    /** Number of keys that the table holds. */
    readonly capacity: number;
  };
  /** The store for limits has become available or unavailable. */
  "limiter_store": {
    /** Its address, without user and password. */
    readonly address: string;
    /** Whether it is available now. */
    readonly available: boolean;
    /** The reason if it is unavailable; `null` if it is available. */
    readonly reason: string | null;
    /**
     * Number of corrections of counts, by `charge`, that were lost while it was unavailable because there were too
     * many.
     */
    readonly dropped: number;
  };
  /** A listener cannot accept connections, and retries until it can; reported once until then. */
  "listener_error": {
    /** Address of the listener, as `host:port`. */
    readonly address: string;
    /** The error. */
    readonly message: string;
    /** Number of open descriptors of the process; `null` if unknown (known only on Linux with `--allow-all`). */
    readonly openDescriptors: number | null;
    /** Number of running requests. */
    readonly runningRequests: number;
  };
  /** A listener accepts connections again, and has done so for a second. */
  "listener_recovered": {
    /** Address of the listener, as `host:port`. */
    readonly address: string;
    /** Duration of the failure, in milliseconds. */
    readonly afterMs: number;
  };
  /** A client was refused because of an invalid or missing certificate; reported at most once per second. */
  "client_certificate": {
    /** Address of the listener, as `host:port`. */
    readonly address: string;
    /** Address of the client. */
    readonly client: string;
    /** Subject of its certificate (RFC 4514); `null` without a readable certificate. */
    readonly subject: string | null;
    /** SHA-256 of the certificate; `null` without a readable certificate. */
    readonly fingerprint: string | null;
    /** Reason for the refusal. */
    readonly reason: string;
    /** Number of refused clients since the previous event. */
    readonly count: number;
  };
  /** A certificate expires within 30 days, 7 days or a day, or has expired; reported each day. */
  "certificate_expiry": {
    /** Address of the listener, as configured. */
    readonly address: string;
    /** Server names of the certificate. */
    readonly names: readonly string[];
    /** Time of expiry, as ISO 8601. */
    readonly notAfter: string;
    /** Whole days until then; 0 if it has expired. */
    readonly daysLeft: number;
    /** Whether it has expired. */
    readonly ended: boolean;
  };
  /** The files of a listener's certificate have changed. */
  "certificate": {
    /** Address of the listener, as `host:port`. */
    readonly address: string;
    /** Server names of the certificate; empty if the listener has no other certificate. */
    readonly names: readonly string[];
    /** Why the new certificate is not used; `null` if it is used. */
    readonly problem: string | null;
  };
  /** The access log cannot be written (reported once), or can be written again. */
  "access_log": {
    /** Path of the file. */
    readonly path: string;
    /** Why it cannot be written; `null` if it can. */
    readonly problem: string | null;
  };
  /** A callback of the configuration (such as `logging`) threw. */
  "callback_error": {
    /** Name of the function as configured. */
    readonly name: string;
    /** The error. */
    readonly message: string;
    /** Stack trace; `null` if unknown. */
    readonly stack: string | null;
  };
  /** The admin listener accepts connections. */
  "admin_listening": {
    /** Its address, as `host:port` or `unix:/path`. */
    readonly address: string;
    /** Whether it uses TLS. */
    readonly tls: boolean;
  };
  /** A change was made through the admin listener. */
  "admin_change": {
    /** Name of the token used for the change. */
    readonly who: string;
    /** Address of the client; `""` over a unix socket. */
    readonly client: string;
    /** The action, such as `drain` or `ban`. */
    readonly action: string;
    /** The object of the action, such as `server 10.0.0.1:80 of pool api`. */
    readonly subject: string;
    /** Pool of the changed server; `null` for other changes. */
    readonly pool: string | null;
    /** The changed server, as configured; `null` for other changes. */
    readonly server: string | null;
    /** Why the change failed; `null` if it succeeded. */
    readonly error: string | null;
  };
  /**
   * The admin listener refused possible attacks: wrong tokens, requests from other sites, wrong hosts. Reported once
   * per second.
   */
  "admin_refusal": {
    /** Address of the client; `""` over a unix socket. */
    readonly client: string;
    /** Problem of the last request. */
    readonly reason: string;
    /** Number of refused requests since the previous event. */
    readonly count: number;
  };
  /** A reload was attempted. */
  "reload": {
    /**
     * `applied`: the new configuration is in use; `rejected`: it is invalid, and nothing has changed; `rolled_back`:
     * too many of its requests failed, and the previous one is in use again.
     */
    readonly outcome: "applied" | "rejected" | "rolled_back";
    /** Number of the configuration in use; the first one is 1. */
    readonly generation: number;
    /** SHA-256 of the sources that were read, in hexadecimal; `null` if they could not be read. */
    readonly hash: string | null;
    /** Trigger of the reload, such as `SIGHUP`; for `rolled_back` the failure. */
    readonly trigger: string;
    /** Problems of the configuration; empty if it is in use. */
    readonly problems: readonly string[];
    /** URLs of modules that were not loaded again. */
    readonly notReloaded: readonly string[];
  };
  /** The proxy stops: it accepts no new connections and finishes the running requests. */
  "shutdown": {
    /** The trigger, such as `SIGTERM`. */
    readonly reason: string;
    /** Number of requests without a response yet. */
    readonly runningRequests: number;
    /** How long it still accepts requests, for load balancers in front to notice; in milliseconds. */
    readonly delayMs: number;
    /** How long requests may take after that, in milliseconds. */
    readonly gracePeriodMs: number;
  };
  /** The proxy has stopped. */
  "stopped": {
    /** Number of requests that did not end within the grace period and were cut off. */
    readonly abandonedRequests: number;
  };
}

/** One event, of the kind in `kind`. `ProxyEvent<"health">` is an event of that kind. */
export type ProxyEvent<Kind extends keyof ProxyEvents = keyof ProxyEvents> = {
  [Each in Kind]: { readonly kind: Each } & Readonly<ProxyEvents[Each]>;
}[Kind];

// Log levels and formats.

/** Names of the levels, the most verbose first. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const satisfies readonly LogLevel[];

/** A minimum level for the log. Requests are `info`. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** The formats of a log. */
export const LOG_FORMATS = ["text", "json"] as const;

/** `"text"` for people, `"json"` for one object per line. */
export type LogFormat = typeof LOG_FORMATS[number];

const STD_NAMES: Readonly<Record<LogLevel, LevelName>> = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
};

/** Whether lines of `level` are logged if the level of the log is `threshold`. */
export function isLogged(level: LogLevel, threshold: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(threshold);
}

/** The name of a level in `@std/log`. */
export function toStdLevel(level: LogLevel): LevelName {
  return STD_NAMES[level];
}
