/** Keeps secrets out of logs. */

/** Keys of queries, and fields, whose values are no business of a log; compared in lower case. */
const SECRET_NAMES: readonly string[] = [
  "access_token",
  "api_key",
  "apikey",
  "api-key",
  "auth",
  "authorization",
  "client_secret",
  "code",
  "cookie",
  "id_token",
  "jwt",
  "key",
  "passwd",
  "password",
  "proxy-authorization",
  "refresh_token",
  "secret",
  "session",
  "set-cookie",
  "sig",
  "signature",
  "token",
  "x-amz-credential",
  "x-amz-security-token",
  "x-amz-signature",
  "x-api-key",
  "x-auth-token",
];

/** What stands in the place of a secret. */
export const REDACTED = "[redacted]";

/** Names of what is secret: those that everybody knows, and others. */
export function secretNames(others: readonly string[] = []): ReadonlySet<string> {
  return new Set([...SECRET_NAMES, ...others.map((name) => name.toLowerCase())]);
}

/** The target, or a URL, with the values of secret keys of its query, and a user's password in front of the host, replaced. */
export function redactTarget(target: string, secrets: ReadonlySet<string>): string {
  const query = target.indexOf("?");
  if (query < 0) return redactUser(target);
  let redacted = redactUser(target.slice(0, query + 1));
  for (let at = query + 1; at <= target.length;) {
    const next = target.indexOf("&", at);
    const end = next < 0 ? target.length : next;
    const equals = target.indexOf("=", at);
    redacted += equals >= 0 && equals < end && secrets.has(plainName(target.slice(at, equals)))
      ? `${target.slice(at, equals + 1)}${REDACTED}`
      : target.slice(at, end);
    if (next < 0) break;
    redacted += "&";
    at = next + 1;
  }
  return redacted;
}

function plainName(name: string): string {
  if (!name.includes("%") && !name.includes("+")) return name.toLowerCase();
  try {
    return decodeURIComponent(name.replaceAll("+", " ")).trim().toLowerCase();
  } catch {
    return name.toLowerCase();
  }
}

/** Only URLs have users, and targets begin with a slash. */
function redactUser(url: string): string {
  if (url.startsWith("/")) return url;
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${REDACTED}@`);
}
