//! A checked load: every block is a register, every answer is proved.
