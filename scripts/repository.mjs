// node scripts/repository.mjs URL: writes into package.json where the project is on the web, such as
// https://code.example/team/ipvs: the fields `repository`, `homepage` and `bugs`, which all follow from that one place.
// node scripts/repository.mjs: checks them; `npm publish` begins with it. npm shows README.md, and finds what its links name
// by `repository`: without it they would all be dead.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const MANIFEST = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'package.json')

/**
 * The three fields, for the address of the project's page.
 *
 * @param {string} page
 */
export function fieldsOf(page) {
  const url = page.replace(/\/$|\.git$/g, '')
  const issues = new URL(url).hostname.includes('gitlab') ? '/-/issues' : '/issues'
  return {
    homepage: `${url}#readme`,
    bugs: { url: `${url}${issues}` },
    repository: { type: 'git', url: `git+${url}.git` },
  }
}

/**
 * What is wrong with the fields of a package.json; `undefined` if npm can show the links of its README.
 *
 * @param {Readonly<Record<string, unknown>>} manifest
 * @returns {string | undefined}
 */
export function faultOf({ homepage, bugs, repository }) {
  const remedy = 'run `node scripts/repository.mjs URL` with the address of the project'
  if (repository === undefined && homepage === undefined && bugs === undefined) {
    return `package.json does not say where the project is, so every link of README.md would be dead where npm shows it: ${remedy}`
  }
  const [, page = ''] = /^git\+(https:\/\/.*)\.git$/.exec(Object(repository).url ?? '') ?? []
  const expected = page === '' ? undefined : fieldsOf(page)
  if (JSON.stringify({ homepage, bugs, repository }) === JSON.stringify(expected)) return undefined
  return `\`repository\`, \`homepage\` and \`bugs\` of package.json do not fit together: ${remedy}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'))
  const [page] = process.argv.slice(2)
  if (page === undefined) {
    const fault = faultOf(manifest)
    if (fault !== undefined) {
      console.error(fault)
      process.exitCode = 1
    }
  } else if (!/^https:\/\/[^/\s]+\/\S+$/.test(page)) {
    console.error(`the address must be like https://code.example/team/ipvs, got '${page}'`)
    process.exitCode = 2
  } else {
    const { name, version, description, keywords, homepage, bugs, repository, ...rest } = manifest
    const filled = { name, version, description, keywords, ...fieldsOf(page), ...rest }
    writeFileSync(MANIFEST, `${JSON.stringify(filled, null, 2)}\n`)
  }
}
