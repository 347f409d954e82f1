import { z } from "zod";

/**
 * The URL of a server by which it is also told from others: one spelling, without the scheme's own port and a slash at the end, the host in small letters. Else one server that two agents
 * spell differently would be counted as two.
 */
export const serverUrlSchema = z.url().overwrite((url) => (URL.canParse(url) ? new URL(url).href.replace(/\/+$/, "") : url));
