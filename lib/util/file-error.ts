/** An error of the file system that names the file: those of an open file, such as "no space left", do not. */
export function namingFile(error: unknown, path: string): unknown {
  const { message, code, errno, syscall, path: named } = error as NodeJS.ErrnoException
  if (code === undefined || syscall === undefined || named !== undefined) return error
  return Object.assign(new Error(`${message} '${path}'`, { cause: error }), { code, errno, syscall, path })
}

/** An error of the file system that we found ourselves. */
export function fileSystemError(code: string, path: string, reason: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path} ${reason}`), { code, path })
}
