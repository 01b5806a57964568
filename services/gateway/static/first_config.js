// What the start form begins with: a model that any machine trains in a minute or two, and that
// `training-engine export` can write. The values are those of examples/tiny.yaml.

export const FIRST_CONFIG = `# 0.8 million parameters on the bytes of any text, in Llama's form.
model_config:
  vocab_size: 256
  hidden_size: 128
  num_layers: 4
  num_heads: 4
  max_position_embeddings: 64
  position_encoding_type: rotary
  layer_norm_type: rms_norm
  activation: swiglu
  intermediate_size: 344
  bias: false

tokenizer: byte
batch_size: 8
learning_rate: 0.003
max_steps: 300
warmup_steps: 30
scheduler_type: cosine
logging_steps: 10
eval_steps: 100
save_steps: 100
max_checkpoints_to_keep: 2
`;
