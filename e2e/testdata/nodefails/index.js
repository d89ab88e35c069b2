// A function that fails in the way the event says.
exports.handler = async (event) => {
  const forever = () => new Promise((resolve) => setTimeout(resolve, 60000));
  switch (event) {
    case 'throw': throw new RangeError('out of range');
    case 'reject': Promise.reject(new Error('nobody listens')); return forever();
    case 'exit': process.exit(3);
    case 'hang': return forever();
  }
  return event;
};
