import { readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { OwnErrorCode } from '../model/error-codes.ts'
import { printable } from '../model/printable.ts'
import { type Addon, INTERFACE_VERSION } from './addon.ts'
import { faultOfElf } from './elf.ts'

let loaded: Addon | undefined

/** The addon. The first call looks for it and loads it; if there is none that loads, the error says what to do. */
export function loadAddon(): Addon {
  if (process.platform !== 'linux') throw platformError(process.platform)
  loaded ??= firstThatLoads()
  return loaded
}

function firstThatLoads(): Addon {
  const told = process.env.IPVS_ADDON ?? ''
  const folder = packageFolder()
  const misses: Miss[] = []
  for (const path of told === '' ? placesIn(folder) : [resolve(told)]) {
    try {
      const addon = load(path)
      if (addon !== undefined) return addon
      misses.push({ path })
    } catch (error) {
      misses.push({ path, error: error as Error })
    }
  }
  const { arch, versions } = process
  const machine = `linux-${arch}, ${libcName()}, Node-API ${versions.napi ?? 'none'}`
  throw addonLoadError({ machine, misses, told: told !== '', folder })
}

/** The folder of this file or, bundled, of the bundle. In a bundle that is CommonJS import.meta.dirname is absent. */
function ownFolder(): string {
  const folder: unknown = import.meta.dirname
  return typeof folder === 'string' ? folder : __dirname
}

/** The folder of the package that this file is part of. A bundle of another program has none. */
function packageFolder(): string | undefined {
  const [, folder] = /^(.*)\/(?:dist|dist\/cli|lib\/transport)$/.exec(ownFolder()) ?? []
  if (folder === undefined) return undefined
  try {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown }
    return name === 'ipvs' ? folder : undefined
  } catch {
    return undefined
  }
}

/** In the order in which they are looked at: whoever builds or copies an addon means that one. */
function placesIn(folder: string | undefined): string[] {
  const beside = join(ownFolder(), 'ipvs.node')
  if (folder === undefined) return [beside]
  return [
    beside,
    join(folder, 'build/Release/ipvs.node'),
    join(folder, 'native/build/Release/ipvs.node'),
    join(folder, `prebuilds/linux-${process.arch}/ipvs.node`),
  ]
}

/** None: there is no such file. */
function load(path: string): Addon | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  const fault = stat.isFile() ? faultOfElf(path, stat.size, process.arch) : 'it is not a file'
  if (fault !== undefined) throw new Error(fault)
  const module = { exports: {} as Partial<Addon> }
  // require() does the same, but bundlers look at what it is given.
  process.dlopen(module, path)
  if (module.exports.interfaceVersion !== INTERFACE_VERSION) {
    throw new Error('this is not the addon of this version of ipvs')
  }
  return module.exports as Addon
}

/** The addon is only for Linux. */
export function platformError(platform: string): Error {
  const message =
    `ipvs needs Linux to reach a kernel, and this is ${platform}. ` +
    'Run this on Linux, or pass the in-memory kernel of ipvs/testing to Ipvs.open() as `transport`.'
  return Object.assign(new Error(message), { code: 'ERR_IPVS_PLATFORM' satisfies OwnErrorCode })
}

/** A place where the addon is not, or does not load. */
interface Miss {
  readonly path: string
  /** The loader's. None: there is no such file. */
  readonly error?: Error
}

interface AddonSearch {
  /** Processor, C library and level of Node-API. */
  readonly machine: string
  readonly misses: readonly Miss[]
  /** The variable IPVS_ADDON named the only place. */
  readonly told: boolean
  /** That of the package. None in a bundle of another program. */
  readonly folder?: string | undefined
}

/** There is no addon, or none that loads. */
export function addonLoadError({ machine, misses, told, folder }: AddonSearch): Error {
  const places = misses.map(({ path, error }) => {
    // The loader's own words begin with the path.
    const reason = error?.message.replace(`${path}: `, '').replace(/\.$/, '') ?? 'no such file'
    return `${path} (${reason})`
  })
  const cause = misses.flatMap(({ error }) => error ?? []).at(-1)
  const disabled = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_DLOPEN_DISABLED'
  const message =
    `the native addon of ipvs could not be loaded (${machine}); ` +
    (told ? 'IPVS_ADDON names' : 'it was looked for in') +
    ` ${places.join(', ')}. ` +
    (disabled ? 'Start node with --allow-addons, and without --no-addons.' : remedy(told, folder))
  return Object.assign(new Error(printable(message), { cause }), {
    code: 'ERR_IPVS_ADDON' satisfies OwnErrorCode,
  })
}

function remedy(told: boolean, folder: string | undefined): string {
  if (told) return 'Name another file, or unset IPVS_ADDON.'
  if (folder === undefined) {
    return (
      'Copy ipvs.node there from node_modules/ipvs/prebuilds/linux-x64 or linux-arm64; for another processor from ' +
      'node_modules/ipvs/native/build/Release, after `npx node-gyp rebuild --directory node_modules/ipvs/native`.'
    )
  }
  const native = `${folder}/native`.replaceAll("'", "'\\''")
  return `This builds it, with python3, make and g++: \`npx node-gyp rebuild --directory '${native}'\`.`
}

/** The C library of this process. */
function libcName(): string {
  try {
    const maps = readFileSync('/proc/self/maps', 'utf8')
    if (maps.includes('/ld-musl-')) return 'musl'
    if (/\/libc(\.so\.6|-2\.\d+\.so)$/m.test(maps)) return 'glibc'
  } catch {
    // No /proc, or no right to read it.
  }
  return 'unknown C library'
}
