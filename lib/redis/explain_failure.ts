/** Says in the log why Redis cannot be used, so that one knows what to change. */

/** What is known of a connection that failed. */
interface FailedConnection {
  /** Whether it is one over TLS. */
  readonly secure: boolean;
  /** Whether the server had taken the connection and not answered anything yet. */
  readonly greeting: boolean;
  /** How long it could take until the connection was there. */
  readonly connectTimeoutMs: number;
}

/** Codes of certificates that another authority would make good. */
const UNTRUSTED = /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/;

/** A sentence about an error of the client, of the network or of Redis itself. */
export function explainFailure(error: Error, connection: FailedConnection): string {
  const { secure, greeting, connectTimeoutMs } = connection;
  const { code = "" } = error as { code?: string };
  const message = textOf(error);
  if (error.name === "ReplyError") return explainReply(message);
  if (UNTRUSTED.test(code)) return `${message}; store.tls.caCerts names authorities to trust`;
  if (/certificate ?required/i.test(message)) {
    return `${message}; store.tls.cert and key are shown to the server`;
  }
  if (message === "connect ETIMEDOUT") {
    return secure
      ? `no TLS connection within ${connectTimeoutMs} ms; a server without TLS is redis://`
      : `no connection within ${connectTimeoutMs} ms`;
  }
  if (greeting && !secure) return `${message} before any answer; a server with TLS is rediss://`;
  return message;
}

function explainReply(message: string): string {
  if (message.startsWith("NOAUTH")) return "NOAUTH: it wants a password, store.url has none";
  return message;
}

/** Several errors, one for each address of a name, have no message of their own. */
function textOf(error: Error): string {
  const { errors } = error as AggregateError;
  return error.message === "" && Array.isArray(errors) ? errors.map(String).join(", ") : error.message;
}
