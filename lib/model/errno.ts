import type { IpvsErrorCode } from './error-codes.ts'

/** The errnos of Linux (<asm-generic/errno.h>) that can reach us. Positive, as Linux has them. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  EPROTO: 71,
  EBADMSG: 74,
  EMSGSIZE: 90,
  ENOPROTOOPT: 92,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  ESTALE: 116,
  ECANCELED: 125,
} as const

/** Those that have a name here. */
type Named = Exclude<IpvsErrorCode, `ERRNO_${number}`>

// The compiler finds a name that only one of the two lists has.
const ERRNO_NAMES = new Map<number, Named>(
  Object.entries(Errno satisfies Readonly<Record<Named, number>>).map(([name, errno]) => [
    errno,
    name as keyof typeof Errno,
  ]),
)

/** 'ESRCH' for 3. A number without a name here reads 'ERRNO_<number>'. */
export function errnoName(errno: number): IpvsErrorCode {
  return ERRNO_NAMES.get(errno) ?? `ERRNO_${errno}`
}
