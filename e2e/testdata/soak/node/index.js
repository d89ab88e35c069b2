// Says what it was asked, once in the log and once in the reply.
exports.handler = async (event, context) => {
  console.log(`soak ${event.nonce}`);
  return { nonce: event.nonce, function: context.functionName };
};
