// Group normalization and ReLU, forward: one program for each image and each tile of
// channels, which holds whole groups. It reads the pixels twice, the second time from
// the last to the first: those read last are still in the cache.
module {
  tt.func public @group_norm_forward(
      %x_at: !tt.ptr<$T> {tt.divisibility = 16 : i32},
      %gamma_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %beta_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %y_at: !tt.ptr<$T> {tt.divisibility = 16 : i32},
      %mean_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %inverse_at: !tt.ptr<f32> {tt.divisibility = 16 : i32}) attributes {noinline = false} {
    %zero = arith.constant 0 : i32
    %one = arith.constant 1 : i32
    %last_tile = arith.constant $LAST_TILE : i32
    %num_tiles = arith.constant $TILES : i32
    %tile_channels = arith.constant $TILE_CHANNELS : i32
    %tile_rows = arith.constant $TILE_ROWS : i32
    %tile_groups = arith.constant $TILE_GROUPS : i32
    %groups = arith.constant $GROUPS : i32
    %image_size = arith.constant $IMAGE_SIZE : i64
    %tile_size = arith.constant $TILE_SIZE : i32
    %pixels = arith.constant dense<$PIXELS> : tensor<${TILE_ROWS}xi32>
    %channels = arith.constant dense<$CHANNELS> : tensor<${TILE_ROWS}x1xi32>
    %nothing = arith.constant dense<0.0> : tensor<${TILE}$T>
    %zeros = arith.constant dense<0.0> : tensor<${TILE}f32>
    %floor = arith.constant dense<$FLOOR> : tensor<${TILE}f32>
    %num_pixels = arith.constant dense<$PIXELS.0> : tensor<${TILE_CHANNELS}xf32>
    %none = arith.constant dense<0.0> : tensor<${TILE_CHANNELS}xf32>
    %group_size = arith.constant dense<$GROUP_SIZE.0> : tensor<${TILE_GROUPS}xf32>
    %epsilon = arith.constant dense<$EPSILON> : tensor<${TILE_GROUPS}xf32>
    %ones = arith.constant dense<1.0> : tensor<${TILE_GROUPS}xf32>

    // Where this program's channels and pixels lie.
    %block = tt.get_program_id x : i32
    %image = tt.get_program_id y : i32
    %first_channel = arith.muli %block, %tile_channels : i32
    %channel_range = tt.make_range {end = $TILE_CHANNELS : i32, start = 0 : i32} : tensor<${TILE_CHANNELS}xi32>
    %first_channels = tt.splat %first_channel : i32 -> tensor<${TILE_CHANNELS}xi32>
    %channel = arith.addi %first_channels, %channel_range : tensor<${TILE_CHANNELS}xi32>
    %row = tt.make_range {end = $TILE_ROWS : i32, start = 0 : i32} : tensor<${TILE_ROWS}xi32>
    %image_wide = arith.extsi %image : i32 to i64
    %image_start = arith.muli %image_wide, %image_size : i64
    %x_image = tt.addptr %x_at, %image_start : !tt.ptr<$T>, i64
    %y_image = tt.addptr %y_at, %image_start : !tt.ptr<$T>, i64
    %row_column = tt.expand_dims %row {axis = 1 : i32} : tensor<${TILE_ROWS}xi32> -> tensor<${TILE_ROWS}x1xi32>
    %row_start = arith.muli %row_column, %channels : tensor<${TILE_ROWS}x1xi32>
    %channel_row = tt.expand_dims %channel {axis = 0 : i32} : tensor<${TILE_CHANNELS}xi32> -> tensor<1x${TILE_CHANNELS}xi32>
    %row_starts = tt.broadcast %row_start : tensor<${TILE_ROWS}x1xi32> -> tensor<${TILE}i32>
    %channel_rows = tt.broadcast %channel_row : tensor<1x${TILE_CHANNELS}xi32> -> tensor<${TILE}i32>
    %place = arith.addi %row_starts, %channel_rows : tensor<${TILE}i32>

    // Sums over the pixels, counted from the first of them: see `normalize.py`.
    %x_image_all = tt.splat %x_image : !tt.ptr<$T> -> tensor<${TILE_CHANNELS}x!tt.ptr<$T>>
    %origin_at = tt.addptr %x_image_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<$T>>, tensor<${TILE_CHANNELS}xi32>
    %origin_stored = tt.load %origin_at : tensor<${TILE_CHANNELS}x!tt.ptr<$T>>
    %origin = $WIDEN %origin_stored : tensor<${TILE_CHANNELS}x$T> $WIDEN_TO tensor<${TILE_CHANNELS}xf32>
    %origin_row = tt.expand_dims %origin {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %origins = tt.broadcast %origin_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %sums:2 = scf.for %tile = %zero to %num_tiles step %one iter_args(%sum = %zeros, %square_sum = %zeros) -> (tensor<${TILE}f32>, tensor<${TILE}f32>) : i32 {
      %start = arith.muli %tile, %tile_rows : i32
      %starts = tt.splat %start : i32 -> tensor<${TILE_ROWS}xi32>
      %pixel = arith.addi %starts, %row : tensor<${TILE_ROWS}xi32>
      %exists = arith.cmpi slt, %pixel, %pixels : tensor<${TILE_ROWS}xi32>
      %exists_column = tt.expand_dims %exists {axis = 1 : i32} : tensor<${TILE_ROWS}xi1> -> tensor<${TILE_ROWS}x1xi1>
      %mask = tt.broadcast %exists_column : tensor<${TILE_ROWS}x1xi1> -> tensor<${TILE}i1>
      %tile_start = arith.muli %tile, %tile_size : i32
      %x_tile = tt.addptr %x_image, %tile_start : !tt.ptr<$T>, i32
      %x_tile_all = tt.splat %x_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %x_place = tt.addptr %x_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %x_stored = tt.load %x_place, %mask, %nothing evictionPolicy = evict_last : tensor<${TILE}!tt.ptr<$T>>
      %x = $WIDEN %x_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %difference = arith.subf %x, %origins : tensor<${TILE}f32>
      %centred = arith.select %mask, %difference, %zeros : tensor<${TILE}i1>, tensor<${TILE}f32>
      %square = arith.mulf %centred, %centred : tensor<${TILE}f32>
      %new_sum = arith.addf %sum, %centred : tensor<${TILE}f32>
      %new_square_sum = arith.addf %square_sum, %square : tensor<${TILE}f32>
      scf.yield %new_sum, %new_square_sum : tensor<${TILE}f32>, tensor<${TILE}f32>
    }
    %channel_sum = "tt.reduce"(%sums#0) <{axis = 0 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${TILE}f32>) -> tensor<${TILE_CHANNELS}xf32>
    %channel_square_sum = "tt.reduce"(%sums#1) <{axis = 0 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${TILE}f32>) -> tensor<${TILE_CHANNELS}xf32>

    // Mean and variance of each channel, then of each group.
    %from_origin = arith.divf %channel_sum, %num_pixels : tensor<${TILE_CHANNELS}xf32>
    %mean_square = arith.divf %channel_square_sum, %num_pixels : tensor<${TILE_CHANNELS}xf32>
    %square_mean = arith.mulf %from_origin, %from_origin : tensor<${TILE_CHANNELS}xf32>
    %raw_variance = arith.subf %mean_square, %square_mean : tensor<${TILE_CHANNELS}xf32>
    %channel_variance = arith.maximumf %raw_variance, %none : tensor<${TILE_CHANNELS}xf32>
    %channel_mean = arith.addf %from_origin, %origin : tensor<${TILE_CHANNELS}xf32>
    %means = tt.reshape %channel_mean : tensor<${TILE_CHANNELS}xf32> -> tensor<${GROUPED}f32>
    %variances = tt.reshape %channel_variance : tensor<${TILE_CHANNELS}xf32> -> tensor<${GROUPED}f32>
    %mean_sum = "tt.reduce"(%means) <{axis = 1 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${GROUPED}f32>) -> tensor<${TILE_GROUPS}xf32>
    %mean = arith.divf %mean_sum, %group_size : tensor<${TILE_GROUPS}xf32>
    %mean_column = tt.expand_dims %mean {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %mean_spread = tt.broadcast %mean_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %from_mean = arith.subf %means, %mean_spread : tensor<${GROUPED}f32>
    %from_mean_square = arith.mulf %from_mean, %from_mean : tensor<${GROUPED}f32>
    %spreads = arith.addf %variances, %from_mean_square : tensor<${GROUPED}f32>
    %spread_sum = "tt.reduce"(%spreads) <{axis = 1 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${GROUPED}f32>) -> tensor<${TILE_GROUPS}xf32>
    %variance = arith.divf %spread_sum, %group_size : tensor<${TILE_GROUPS}xf32>
    %variance_epsilon = arith.addf %variance, %epsilon : tensor<${TILE_GROUPS}xf32>
    %deviation = math.sqrt %variance_epsilon : tensor<${TILE_GROUPS}xf32>
    %inverse = arith.divf %ones, %deviation : tensor<${TILE_GROUPS}xf32>

    // The backward pass needs them.
    %group_start = arith.muli %image, %groups : i32
    %block_start = arith.muli %block, %tile_groups : i32
    %first_group = arith.addi %group_start, %block_start : i32
    %group_range = tt.make_range {end = $TILE_GROUPS : i32, start = 0 : i32} : tensor<${TILE_GROUPS}xi32>
    %first_groups = tt.splat %first_group : i32 -> tensor<${TILE_GROUPS}xi32>
    %group = arith.addi %first_groups, %group_range : tensor<${TILE_GROUPS}xi32>
    %mean_all = tt.splat %mean_at : !tt.ptr<f32> -> tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %mean_place = tt.addptr %mean_all, %group : tensor<${TILE_GROUPS}x!tt.ptr<f32>>, tensor<${TILE_GROUPS}xi32>
    tt.store %mean_place, %mean : tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %inverse_all = tt.splat %inverse_at : !tt.ptr<f32> -> tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %inverse_place = tt.addptr %inverse_all, %group : tensor<${TILE_GROUPS}x!tt.ptr<f32>>, tensor<${TILE_GROUPS}xi32>
    tt.store %inverse_place, %inverse : tensor<${TILE_GROUPS}x!tt.ptr<f32>>

    // y = (x - mean) * scale + beta, which is exact where all of a group is equal.
    %inverse_column = tt.expand_dims %inverse {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %inverse_spread = tt.broadcast %inverse_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %inverse_channel = tt.reshape %inverse_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %mean_channel = tt.reshape %mean_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %gamma_all = tt.splat %gamma_at : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %gamma_place = tt.addptr %gamma_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    %gamma = tt.load %gamma_place : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %beta_all = tt.splat %beta_at : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %beta_place = tt.addptr %beta_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    %beta = tt.load %beta_place : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %scale = arith.mulf %gamma, %inverse_channel : tensor<${TILE_CHANNELS}xf32>
    %scale_row = tt.expand_dims %scale {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %scales = tt.broadcast %scale_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %mean_row = tt.expand_dims %mean_channel {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %centres = tt.broadcast %mean_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %beta_row = tt.expand_dims %beta {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %betas = tt.broadcast %beta_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    scf.for %back = %zero to %num_tiles step %one : i32 {
      %tile = arith.subi %last_tile, %back : i32
      %start = arith.muli %tile, %tile_rows : i32
      %starts = tt.splat %start : i32 -> tensor<${TILE_ROWS}xi32>
      %pixel = arith.addi %starts, %row : tensor<${TILE_ROWS}xi32>
      %exists = arith.cmpi slt, %pixel, %pixels : tensor<${TILE_ROWS}xi32>
      %exists_column = tt.expand_dims %exists {axis = 1 : i32} : tensor<${TILE_ROWS}xi1> -> tensor<${TILE_ROWS}x1xi1>
      %mask = tt.broadcast %exists_column : tensor<${TILE_ROWS}x1xi1> -> tensor<${TILE}i1>
      %tile_start = arith.muli %tile, %tile_size : i32
      %x_tile = tt.addptr %x_image, %tile_start : !tt.ptr<$T>, i32
      %x_tile_all = tt.splat %x_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %x_place = tt.addptr %x_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %x_stored = tt.load %x_place, %mask, %nothing evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>>
      %x = $WIDEN %x_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %centred = arith.subf %x, %centres : tensor<${TILE}f32>
      %scaled = arith.mulf %centred, %scales : tensor<${TILE}f32>
      %shifted = arith.addf %scaled, %betas : tensor<${TILE}f32>
      %y = arith.maximumf %shifted, %floor : tensor<${TILE}f32>
      %y_narrow = $NARROW %y : tensor<${TILE}f32> $NARROW_TO tensor<${TILE}$T>
      %y_tile = tt.addptr %y_image, %tile_start : !tt.ptr<$T>, i32
      %y_tile_all = tt.splat %y_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %y_place = tt.addptr %y_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      tt.store %y_place, %y_narrow, %mask evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>>
    }
    tt.return
  }
}
