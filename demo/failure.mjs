/** What went wrong, in words that need no stack trace. */
export class Failure extends Error {}
