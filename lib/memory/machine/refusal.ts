/** Ends the handling of one request with the errno that the kernel's function would return. */
export class Refusal extends Error {
  readonly errno: number
  /** The kernel's words beside the errno (NLMSGERR_ATTR_MSG). */
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
