/** The `code` of every error of the library, in one place. docs/errors.md has a heading for each. */

/**
 * The `code` of an {@link IpvsError}: the name of an errno of Linux, such as 'ESRCH'. One that has no name here is
 * 'ERRNO_' and its number.
 */
export type IpvsErrorCode =
  | 'EPERM'
  | 'ENOENT'
  | 'ESRCH'
  | 'EINTR'
  | 'EIO'
  | 'EBADF'
  | 'EAGAIN'
  | 'ENOMEM'
  | 'EACCES'
  | 'EBUSY'
  | 'EEXIST'
  | 'ENODEV'
  | 'ENOTDIR'
  | 'EISDIR'
  | 'EINVAL'
  | 'ENFILE'
  | 'EMFILE'
  | 'EFBIG'
  | 'ENOSPC'
  | 'EROFS'
  | 'ERANGE'
  | 'ENAMETOOLONG'
  | 'ENOSYS'
  | 'ELOOP'
  | 'EPROTO'
  | 'EBADMSG'
  | 'EMSGSIZE'
  | 'ENOPROTOOPT'
  | 'EPROTONOSUPPORT'
  | 'EOPNOTSUPP'
  | 'EAFNOSUPPORT'
  | 'EADDRINUSE'
  | 'EADDRNOTAVAIL'
  | 'ENETDOWN'
  | 'ENETUNREACH'
  | 'ENOBUFS'
  | 'ETIMEDOUT'
  | 'ECONNREFUSED'
  | 'ESTALE'
  | 'ECANCELED'
  | `ERRNO_${number}`

/** The `code` of an {@link ApplyError}, which says what each means. */
export type ApplyErrorCode = 'ERR_IPVS_APPLY' | 'ERR_IPVS_GUARD' | 'ERR_IPVS_STALE_PLAN'

/** The `code` of an error that does not come from the kernel. */
export type OwnErrorCode =
  | ApplyErrorCode
  /** The addon does not load. */
  | 'ERR_IPVS_ADDON'
  /** A save without services would have replaced a file that has some. */
  | 'ERR_IPVS_EMPTY'
  /** The `code` of a {@link LockedError}. */
  | 'ERR_IPVS_LOCKED'
  /** This is not Linux. */
  | 'ERR_IPVS_PLATFORM'
  /** The `code` of a {@link StateSyntaxError}. */
  | 'ERR_IPVS_STATE_SYNTAX'

/** The `code` of any error that a method of the library rejects with, except misuse, which has none. */
export type ErrorCode = IpvsErrorCode | OwnErrorCode

/** All of them but the names of errnos: one that is forgotten does not compile. */
export const OWN_ERROR_CODES: readonly OwnErrorCode[] = Object.keys({
  ERR_IPVS_ADDON: true,
  ERR_IPVS_APPLY: true,
  ERR_IPVS_EMPTY: true,
  ERR_IPVS_GUARD: true,
  ERR_IPVS_LOCKED: true,
  ERR_IPVS_PLATFORM: true,
  ERR_IPVS_STALE_PLAN: true,
  ERR_IPVS_STATE_SYNTAX: true,
} satisfies Record<OwnErrorCode, true>) as OwnErrorCode[]
