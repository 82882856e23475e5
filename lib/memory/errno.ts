/** The errnos of Linux that ip_vs and generic netlink answer with (<asm-generic/errno.h>). */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ERANGE: 34,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  ENETUNREACH: 101,
} as const

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
