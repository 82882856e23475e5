/** Ends the handling of one request: what the kernel's function would have returned. */
export class Refusal extends Error {
  readonly errno: number
  /** What the kernel says beside the errno (NLMSGERR_ATTR_MSG). */
  readonly text: string | undefined

  constructor(errno: number, text?: string) {
    super(text ?? `errno ${errno}`)
    this.name = 'Refusal'
    this.errno = errno
    this.text = text
  }
}

export function refuse(errno: number, text?: string): never {
  throw new Refusal(errno, text)
}
