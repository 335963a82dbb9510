// The signatures of @std/http/cookie, for its copy from npm, which has none.

/** A cookie with its attributes. */
export interface Cookie {
  name: string;
  value: string;
  /** A date, or milliseconds since 1970. */
  expires?: Date | number;
  /** Seconds. */
  maxAge?: number;
  domain?: string;
  path?: string;
  secure?: boolean;
  httpOnly?: boolean;
  partitioned?: boolean;
  sameSite?: "Strict" | "Lax" | "None";
  /** Other attributes, as `key=value`. */
  unparsed?: string[];
}

export declare function getCookies(headers: Headers): Record<string, string>;
export declare function setCookie(headers: Headers, cookie: Cookie): void;
export declare function deleteCookie(
  headers: Headers,
  name: string,
  attributes?: Pick<Cookie, "path" | "domain" | "secure" | "httpOnly" | "partitioned">,
): void;
export declare function getSetCookies(headers: Headers): Cookie[];
