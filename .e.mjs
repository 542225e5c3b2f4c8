export {batchNormalization,batchNormalizationGradient} from './js/index.js'
