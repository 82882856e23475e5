// What a script pays before its first answer: node, the library, a socket to the kernel, a question.
import { Ipvs } from 'ipvs'

const ipvs = await Ipvs.open()
await ipvs.info()
await ipvs.close()
